"""Fine-tuning: from bad cases to a recogniser that reads them, exactness before and after on pages it never saw.

    python -m bench.ocr_tuning [--kind dots] [--pages 300] [--epochs 20] [--seed 11]

Words that start low are drawn (ink-jet codes of dots, or meters of seven segments, blurred and noisy), put into a store of bad
cases as a service does with what its users correct, and `gpupool ocr tune` is run on the store. Lines of other kinds, serial
numbers and plates, are trained on beside them so that they are not forgotten; other ones of these measure what was.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

GPUPOOL = [sys.executable, "-m", "gpupool", "ocr"]
DEGRADE = "coarse=0.6,blur=0.8,noise=0.4"
OTHERS = "blur=0.3,jpeg=0.3"


def run(*arguments: object) -> None:
    subprocess.run([*GPUPOOL, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", default="dots")
    parser.add_argument("--pages", type=int, default=300)
    parser.add_argument("--replay", type=int, default=80)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=11, help="of the pages; the ones beside and replayed have the next two")
    parser.add_argument(
        "--pool", action="store_true", help="run the network on a slice of the embedded pool, else in this process"
    )
    arguments = parser.parse_args()
    seed = arguments.seed
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run("synth", folder / "bad", "--kind", arguments.kind, "--count", arguments.pages, "--seed", seed, "--degrade", DEGRADE)
        run("synth", folder / "others", "--kind", "serial,plate", "--count", 40, "--seed", seed + 1, "--degrade", OTHERS)
        run(
            "synth",
            folder / "replay",
            "--kind",
            "serial,plate",
            "--count",
            arguments.replay,
            "--seed",
            seed + 2,
            "--degrade",
            OTHERS,
        )
        run("cases", "add", folder / "cases", folder / "bad", "--business", "bench")
        where = [] if arguments.pool else ["--local"]
        command = ["tune", "-o", str(folder / "tuned.onnx"), "--cases", str(folder / "cases"), "--others", str(folder / "others")]
        command += ["--replay", str(folder / "replay")]
        done = subprocess.run(
            [*GPUPOOL, *command, "--epochs", str(arguments.epochs), *where], check=True, capture_output=True, text=True
        )
    print(done.stderr.splitlines()[-1])
    print("\n".join(done.stdout.splitlines()[1:]))


if __name__ == "__main__":
    main()
