"""Achieved against granted compute share, with busy slices on one device.

    python -m bench.share [--seconds 30] [--kind cpu]

Every slice is driven by a process of its own through the whole pool. A slice's achieved share is the device time its worker
reports over the wall time of the window; the same is computed from outside, from what those threads spent on the
processors (`cpu` only). Errors are
in points of device time. On `cpu` the threads that execute share the first core, which so is the device, and everything else has
the others, as with a GPU: else a caller that gets no core cannot keep its slice busy. A long call that straddles the window's edge is not an error of the throttle: the bound is one point
plus longest call / window.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import gpupool

BUSY = Path(__file__).parent / "programs" / "busy.py"


@dataclass(frozen=True, slots=True)
class Case:
    """Slices that compete: (per cent, policy, milliseconds a call, calls in flight) each."""

    name: str
    slices: tuple[tuple[int, str, float, int], ...]


def pair(one: int, other: int, policy: str, first_ms: float, second_ms: float, flight: int) -> Case:
    name = f"{one}/{other} {policy}, {first_ms:g} and {second_ms:g} ms, {'pipelined' if flight > 1 else 'synchronous'}"
    return Case(name, ((one, policy, first_ms, flight), (other, policy, second_ms, flight)))


EIGHT = (5, 5, 10, 10, 10, 10, 20, 30)
CASES = (
    pair(10, 90, "fixed", 2, 2, 6),
    pair(30, 70, "fixed", 2, 2, 6),
    pair(50, 50, "fixed", 2, 2, 6),
    pair(30, 70, "burst", 2, 2, 6),
    pair(30, 70, "fixed", 2, 2, 1),
    pair(30, 70, "fixed", 300, 2, 6),
    pair(50, 50, "fixed", 300, 300, 6),
    Case("eight slices of 5-30 fixed, 2 ms, pipelined", tuple((pct, "fixed", 2.0, 6) for pct in EIGHT)),
    Case("lone 40 fixed, 2 ms, pipelined (cap)", ((40, "fixed", 2.0, 6),)),
)


def run(case: Case, seconds: float, kind: str) -> list[tuple[int, float, float]]:
    """Return (granted, achieved, achieved as seen from outside) per slice, in per cent."""
    drivers = []
    for pct, policy, call_ms, flight in case.slices:
        command = [sys.executable, str(BUSY), str(pct), policy, str(call_ms), str(flight), str(seconds), kind]
        driver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert driver.stdout
        if driver.stdout.readline().strip() != "ready":
            raise SystemExit(f"the driver of {pct} % failed: its error is above")
        drivers.append(driver)
    for driver in drivers:
        assert driver.stdin
        driver.stdin.write("go\n")
        driver.stdin.flush()
    answers = [json.loads(driver.communicate()[0].splitlines()[-1]) for driver in drivers]
    rows = zip(case.slices, answers, strict=True)
    return [(pct, answer["achieved_pct"], answer["outside_pct"]) for (pct, *_), answer in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--kind", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    arguments = parser.parse_args()
    inside: list[float] = []
    print(f"{'case':58} granted  achieved (error)  from outside (error)")
    with gpupool.embedded_pool():
        for case in CASES:
            if arguments.only not in case.name:
                continue
            for granted, achieved, outside in run(case, arguments.seconds, arguments.kind):
                inside.append(abs(achieved - granted))
                print(
                    f"{case.name:58} {granted:6d} % {achieved:8.2f} ({achieved - granted:+6.2f}) "
                    f"{outside:10.2f} ({outside - granted:+6.2f})",
                    flush=True,
                )
            time.sleep(0.5)  # let the last workers end before the next begin
    print(f"\nmean absolute error {sum(inside) / len(inside):.2f} points, worst {max(inside):.2f}, over {len(inside)} slices")


if __name__ == "__main__":
    main()
