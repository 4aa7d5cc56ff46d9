"""What the placement policies allocate, and how long a decision takes.

    python -m bench.placement --trace ../shared/data/openb --seeds 42-51            the default trace, without departures
    python -m bench.placement --trace ../shared/data/openb --seeds 42-51 --pooled   without the hosts' CPU and memory
    python -m bench.placement --trace ../shared/data/openb --seeds 42-44 --departures
    python -m bench.placement --trace ../shared/data/openb --seeds 42-44 --all-traces --policies fgd+
    python -m bench.placement --memory --seeds 42-51    compute and memory together, on a made-up workload
    python -m bench.placement --scale 10000             latency of a decision with that many devices and ten slices on each

The figures are GPU (compute) allocated over capacity in per cent: mean and standard deviation over the seeds. What is published
for a trace is printed beside ours. The policies are the broker's own, and so is the index they run in.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import openb, shared_pool
from gpupool_broker.core.placement import POLICIES

#: Requests timed by --scale.
ROUNDS = 20_000


def spread_out(work: Callable[[Any], Any], runs: Sequence[Any], jobs: int) -> list[Any]:
    """Return `work(run)` of each run, in order, from so many processes; progress goes to standard error."""
    start, results = time.monotonic(), []
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for result in pool.imap(work, runs):
            results.append(result)
            sys.stderr.write(f"\r{len(results)}/{len(runs)} runs, {time.monotonic() - start:.0f} s ")
            sys.stderr.flush()
    sys.stderr.write("\n")
    return results


def show(values: Sequence[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):6.2f} ± {deviation:4.2f}"


def trace_table(arguments: argparse.Namespace) -> None:
    """Print a row per trace and policy."""
    folder, mode = arguments.trace, {"is_pooled": arguments.pooled, "has_departures": arguments.departures}
    names = openb.traces(folder) if arguments.all_traces else ["default"]
    keys = [(name, policy) for name in names for policy in arguments.policies]
    runs = [
        openb.Run(folder=folder, trace=name, policy=policy, seed=seed, **mode)
        for name, policy in keys
        for seed in arguments.seeds
    ]
    results = dict(
        zip([(run.trace, run.policy, run.seed) for run in runs], spread_out(openb.replay, runs, arguments.jobs), strict=True)
    )
    # The published figures are those of the published protocol.
    known = {} if arguments.pooled or arguments.departures else openb.published(folder)
    mode_text = (
        ", ".join(["pooled"] * arguments.pooled + ["with departures"] * arguments.departures) or "hosts' CPU bound, no departures"
    )
    print(f"{mode_text}; seeds {arguments.seeds[0]}-{arguments.seeds[-1]}")
    print(f"{'trace':12} {'policy':9} {'allocated %':>14}  published (same policy / FGD)")
    at_least_fgd = 0
    for name, policy in keys:
        values = [results[name, policy, seed] for seed in arguments.seeds]
        of_trace = known.get(name, {})
        same, fgd = of_trace.get(openb.PUBLISHED.get(policy, "")), of_trace.get("FGD")
        beside = f"{same or '–':>7} / {fgd or '–':>7}" + (f"  {statistics.mean(values) - fgd:+.2f}" if fgd else "")
        at_least_fgd += policy == "fgd+" and bool(fgd) and statistics.mean(values) >= (fgd or 0)
        print(f"{name:12} {policy:9} {show(values):>14}  {beside}", flush=True)
    if known and "fgd+" in arguments.policies:
        print(f"fgd+ is at or above published FGD on {at_least_fgd} of {len(names)} traces")


def memory_table(arguments: argparse.Namespace) -> None:
    """Print what each policy makes of a pool with two dimensions; beside it, the same score over every place that fits."""
    widths = {False: arguments.policies, True: [policy for policy in arguments.policies if policy.startswith("fgd")]}
    keys = [(policy, everywhere) for everywhere, policies in widths.items() for policy in policies]
    runs = [
        shared_pool.Fill(policy=policy, seed=seed, looks_everywhere=wide) for policy, wide in keys for seed in arguments.seeds
    ]
    found = spread_out(shared_pool.fill, runs, arguments.jobs)
    results = {(run.policy, run.looks_everywhere, run.seed): result for run, result in zip(runs, found, strict=True)}
    print(f"400 devices of 24, 48 and 80 GiB, no departures; seeds {arguments.seeds[0]}-{arguments.seeds[-1]}")
    print(f"{'policy':24} {'compute %':>14} {'memory %':>14}")
    for policy, wide in keys:
        pairs = [results[policy, wide, seed] for seed in arguments.seeds]
        name = f"{policy}, every place" if wide else policy
        print(f"{name:24} {show([compute for compute, _ in pairs]):>14} {show([memory for _, memory in pairs]):>14}")


def latency_table(arguments: argparse.Namespace) -> None:
    """Print what a decision takes on a full pool, beside a loop of fixed work, which shows what the machine itself adds."""
    print(f"{arguments.scale:,} devices, {ROUNDS:,} decisions, one slice leaving before each; µs")
    print(f"{'policy':28} {'slices':>8} {'full %':>7} {'p50':>7} {'p99':>7} {'p99.9':>7}   with learning and index: p50, p99")
    for policy in arguments.policies:
        for shares in ("round", "any"):
            measured = shared_pool.time_decisions(policy, arguments.scale, 10 * arguments.scale, ROUNDS, shares)
            plan, whole = measured.plan_us, measured.all_us
            columns = " ".join(f"{shared_pool.quantile(plan, q):7.1f}" for q in (0.5, 0.99, 0.999))
            both = f"{shared_pool.quantile(whole, 0.5):.1f}, {shared_pool.quantile(whole, 0.99):.1f}"
            print(
                f"{policy + ', ' + shares + ' shares':28} {measured.slices:8,} {measured.full_pct:7.1f} {columns}   {both}",
                flush=True,
            )
    loop = shared_pool.fixed_work_us(ROUNDS)
    print(f"{'a loop of fixed work':45} " + " ".join(f"{shared_pool.quantile(loop, q):7.1f}" for q in (0.5, 0.99, 0.999)))


def seeds(text: str) -> list[int]:
    """Return the seeds of "42-51" or "42"."""
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def policies(text: str) -> list[str]:
    """Return the policies of "fgd,fgd+"."""
    if unknown := [name for name in text.split(",") if name not in POLICIES]:
        raise argparse.ArgumentTypeError(f"there is no policy {unknown[0]!r}; there are: {', '.join(POLICIES)}")
    return text.split(",")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path, help="the folder of the openb trace")
    parser.add_argument("--seeds", type=seeds, default=seeds("42-44"), help="first-last")
    parser.add_argument("--policies", type=policies, default=list(POLICIES), help="separated by commas")
    parser.add_argument("--all-traces", action="store_true", help="every trace in the folder, not the default one alone")
    parser.add_argument("--pooled", action="store_true", help="without the hosts' CPU and memory")
    parser.add_argument("--departures", action="store_true", help="tasks leave; 1.05 of the GPUs are asked for at any moment")
    parser.add_argument("--memory", action="store_true", help="compute and memory together, made up")
    parser.add_argument("--scale", type=int, default=0, help="time decisions with that many devices")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count(), help="processes")
    arguments = parser.parse_args()
    if not (arguments.trace or arguments.memory or arguments.scale):
        parser.error("nothing to do: give --trace FOLDER, --memory or --scale N")
    if arguments.trace:
        trace_table(arguments)
    if arguments.memory:
        memory_table(arguments)
    if arguments.scale:
        latency_table(arguments)


if __name__ == "__main__":
    main()
