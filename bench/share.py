"""Achieved against granted compute share, with busy slices on one device.

    python -m bench.share [--seconds 30] [--kind cpu]

Every slice is driven by a process of its own through the whole pool. A slice's achieved share is the device time its worker
reports over the wall time of the window; the same is computed from outside, from what the threads that execute have spent on the
processors (`cpu` only). Errors are in points of device time. On `cpu` those threads share the first core, which so is the device,
and everything else has the others, as with a GPU: else a caller that gets no core cannot keep its slice busy. A long call that
straddles the window's edge is not an error of the throttle: the bound is one point plus longest call / window.

A busy slice has calls waiting at every moment (six in flight). One whose caller waits for each answer leaves pauses, which are
charged to it while others wait: handing the device over and back would cost as much. Cases with such callers are shown, the last
one being such a caller alone, and do not count in the mean.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import gpupool

BUSY = Path(__file__).parent / "programs" / "busy.py"


#: Calls in flight of a busy caller, and of one that waits for each answer.
BUSY_FLIGHT, SYNCHRONOUS = 6, 1


@dataclass(frozen=True, slots=True)
class Case:
    """Slices that compete: (per cent, policy, milliseconds a call, calls in flight) each."""

    name: str
    slices: tuple[tuple[int, str, float, int], ...]
    #: Whether every slice is owed its grant, so that the case counts in the mean.
    counts: bool = True


def pair(one: int, other: int, policy: str, first_ms: float, second_ms: float) -> Case:
    name = f"{one}/{other} {policy}, {first_ms:g} and {second_ms:g} ms"
    return Case(name, ((one, policy, first_ms, BUSY_FLIGHT), (other, policy, second_ms, BUSY_FLIGHT)))


EIGHT = (5, 5, 10, 10, 10, 10, 20, 30)
CASES = (
    pair(10, 90, "fixed", 2, 2),
    pair(30, 70, "fixed", 2, 2),
    pair(50, 50, "fixed", 2, 2),
    pair(10, 90, "burst", 2, 2),
    pair(30, 70, "burst", 2, 2),
    pair(30, 70, "fixed", 20, 2),
    pair(30, 70, "fixed", 300, 2),
    pair(50, 50, "fixed", 300, 300),
    Case("eight of 5-30 fixed, 2 ms", tuple((pct, "fixed", 2.0, BUSY_FLIGHT) for pct in EIGHT)),
    Case(
        "eight of 5-30 burst, 2 and 20 ms", tuple((pct, "burst", 2.0 + 18 * (n % 2), BUSY_FLIGHT) for n, pct in enumerate(EIGHT))
    ),
    Case("lone 40 fixed, 2 ms (its cap)", ((40, "fixed", 2.0, BUSY_FLIGHT),)),
    Case("30 synchronous, 70 busy, 2 ms", ((30, "fixed", 2.0, SYNCHRONOUS), (70, "fixed", 2.0, BUSY_FLIGHT)), counts=False),
    Case("30/70 both synchronous, 2 ms", ((30, "fixed", 2.0, SYNCHRONOUS), (70, "fixed", 2.0, SYNCHRONOUS)), counts=False),
    Case("lone 100 fixed, synchronous, 2 ms", ((100, "fixed", 2.0, SYNCHRONOUS),), counts=False),
)


def device_core(kind: str) -> str:
    """Set a core aside for execution, if there are two: this process, and so the whole pool, keeps to the others."""
    first, *others = sorted(os.sched_getaffinity(0))
    if kind != "cpu" or not others:
        return ""
    os.sched_setaffinity(0, others)
    return str(first)


def run(case: Case, seconds: float, kind: str, core: str) -> list[tuple[int, float, float]]:
    """Return (granted, achieved, achieved as seen from outside) per slice, in per cent."""
    drivers = []
    for pct, policy, call_ms, flight in case.slices:
        command = [sys.executable, str(BUSY), str(pct), policy, str(call_ms), str(flight), str(seconds), kind, core]
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
    core = device_core(arguments.kind)
    print(f"{'case':36} granted  achieved (error)  from outside (error)")
    with gpupool.embedded_pool():
        for case in CASES:
            if arguments.only not in case.name:
                continue
            for granted, achieved, outside in run(case, arguments.seconds, arguments.kind, core):
                if case.counts:
                    inside.append(abs(achieved - granted))
                print(
                    f"{case.name:36} {granted:6d} % {achieved:8.2f} ({achieved - granted:+6.2f}) "
                    f"{outside:10.2f} ({outside - granted:+6.2f})",
                    flush=True,
                )
            time.sleep(0.5)  # let the last workers end before the next begin
    if not inside:
        return
    print(f"\nmean absolute error {sum(inside) / len(inside):.2f} points, worst {max(inside):.2f}, over {len(inside)} slices")


if __name__ == "__main__":
    main()
