"""The array API standard's own test suite (data-apis/array-api-tests, version 2024.12) against `slice.xp`, or NumPy.

    git clone --recurse-submodules https://github.com/data-apis/array-api-tests ../array-api-tests
    python -m bench.array_api ../array-api-tests [--module numpy] [--seed 0] [--max-examples 100]

The suite stays outside of this repository; it needs pytest, hypothesis, ndindex and pytest-json-report. The exit status is 0
where no test fails that is not in bench/array_api_numpy.txt, which lists what NumPy itself fails: NumPy does the work on a `cpu`
device, so `slice.xp` owes no more. There is no list for `cuda`: CuPy has failures of its own, which were never measured.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import gpupool

EXPECTED = Path(__file__).parent / "array_api_numpy.txt"
#: Imported by the suite alone: importing it needs the slice.
TARGET = "bench.array_api_target"


def expected() -> set[str]:
    """Return the ids that NumPy fails."""
    lines = EXPECTED.read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


@contextlib.contextmanager
def target(module: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the module to test and the environment in which it is found."""
    if module != "slice.xp":
        yield module, {}
        return
    with gpupool.embedded_pool() as pool, pool.slice(compute=100, memory="1GiB", wait=10) as slice_:
        yield f"exec('from {TARGET} import xp')", slice_.environment()


def run(suite: Path, arguments: argparse.Namespace) -> tuple[str, float]:
    """Run the suite; return what pytest said and the seconds it took."""
    options = ["-q", "-rfE", "-p", "no:randomly", "-p", "no:cacheprovider", "--hypothesis-disable-deadline"]
    options += ["--hypothesis-seed", str(arguments.seed), "--max-examples", str(arguments.max_examples)]
    with target(arguments.module) as (module, found):
        path = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
        environ = {
            **os.environ,
            **found,
            "PYTHONPATH": path,
            "ARRAY_API_TESTS_MODULE": module,
            "ARRAY_API_TESTS_VERSION": "2024.12",
        }
        start = time.perf_counter()
        command = [sys.executable, "-m", "pytest", "array_api_tests", *options]
        done = subprocess.run(command, cwd=suite, env=environ, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=Path, help="folder of array-api-tests, with its submodule")
    parser.add_argument("--module", default="slice.xp", help='"slice.xp", or a module such as numpy')
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-examples", type=int, default=100)
    arguments = parser.parse_args()
    said, seconds = run(arguments.suite, arguments)
    failed = {
        found[1]
        for line in said.splitlines()
        if (found := re.match(r"(?:FAILED|ERROR) (array_api_tests\S+?::.*?)(?: - |$)", line))
    }
    summary = said.strip().splitlines()[-1]
    print(f"{arguments.module}: {summary} ({seconds:.0f} s)")
    if "passed" not in summary:
        raise SystemExit(said[-2000:])
    unexpected = sorted(failed - expected())
    print(f"{len(failed)} fail, {len(failed & expected())} of the {len(expected())} that NumPy fails")
    for test in unexpected:
        print(f"NOT EXPECTED {test}")
    raise SystemExit(bool(unexpected))


if __name__ == "__main__":
    main()
