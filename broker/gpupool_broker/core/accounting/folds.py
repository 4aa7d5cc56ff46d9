"""Folded use as bytes: what one hour's runs of records are kept as.

    runs ──encode──> columns of whole numbers, each packed by itself, names once ──decode──> runs

A column's numbers are alike, so that packed they take about as many bytes as they have digits that matter.
"""

from __future__ import annotations

import itertools
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from gpupool_broker.core.accounting.days import pack, unpack
from gpupool_broker.core.accounting.folder import Run
from gpupool_broker.core.folded import UseFolded


class _Kept(msgspec.Struct, array_like=True):
    """The columns, packed; names as JSON, packed. Counts say how many rows belong to each run."""

    #: Distance from the run before, length, checksum.
    runs: bytes
    #: Which run (distance from the one before), its time after the one before, how many uses, how many energies.
    points: bytes
    slices: bytes
    devices: bytes
    #: Slice, quarter after `base`, device ns, first and last minute.
    uses: bytes
    #: Device, quarter after `base`, energy, time measured.
    energies: bytes
    #: Slice, throttled ns, calls, told (ms after the first point); its device ns are those of its uses.
    totals: bytes
    start_ms: int
    base: int


def encode(runs: Sequence[Run]) -> bytes | None:
    """Return runs as bytes; None where a number is too large for that."""
    points = [(number, run.fact) for number, run in enumerate(runs) if run.fact is not None]
    told = [fact for _, fact in points]
    slices = sorted({use[0] for fact in told for use in fact.uses} | {total[0] for fact in told for total in fact.totals})
    devices = sorted({energy[:2] for fact in told for energy in fact.energies})
    slice_at = {name: number for number, name in enumerate(slices)}
    device_at = {name: number for number, name in enumerate(devices)}
    quarters = [use[1] for fact in told for use in fact.uses] + [energy[2] for fact in told for energy in fact.energies]
    base, start_ms = min(quarters, default=0), told[0].at_ms if told else 0
    ends = [0, *(run.last for run in runs)]
    numbers = [-1, *(number for number, _ in points)]
    moments = [start_ms, *(fact.at_ms for fact in told)]
    try:
        kept = _Kept(
            runs=_pack((run.first - end, run.last - run.first, run.crc) for run, end in zip(runs, ends, strict=False)),
            points=_pack(
                (after - before, fact.at_ms - since, len(fact.uses), len(fact.energies))
                for before, after, since, fact in zip(numbers, numbers[1:], moments, told, strict=False)
            ),
            slices=_names(slices),
            devices=_names(itertools.chain.from_iterable(devices)),
            uses=_pack((slice_at[one], quarter - base, *rest) for fact in told for one, quarter, *rest in fact.uses),
            energies=_pack(
                (device_at[node, device], quarter - base, *rest)
                for fact in told
                for node, device, quarter, *rest in fact.energies
            ),
            totals=_pack(
                (slice_at[one], throttled_ns, calls, told_ms - start_ms)
                for fact in told
                for one, _, throttled_ns, calls, told_ms in fact.totals
            ),
            start_ms=start_ms,
            base=base,
        )
    except OverflowError:
        return None
    return msgspec.msgpack.encode(kept)


def decode(data: bytes) -> list[Run]:
    """Return the runs. Raises ValueError where that is not what `encode` made."""
    try:
        kept = msgspec.msgpack.decode(data, type=_Kept)
        runs = []
        end = 0
        for distance, length, crc in _rows(kept.runs, 3):
            runs.append(Run(end + distance, end + distance + length, crc))
            end = runs[-1].last
        _place(kept, runs)
    except (zlib.error, IndexError, UnicodeError, msgspec.MsgspecError) as error:
        raise ValueError(f"the fold cannot be read: {error}") from error
    return runs


def _place(kept: _Kept, runs: list[Run]) -> None:
    device_ns = Counter[str]()
    slices, names = _read_names(kept.slices), _read_names(kept.devices)
    devices = list(zip(names[::2], names[1::2], strict=True))
    uses, energies = iter(_rows(kept.uses, 5)), iter(_rows(kept.energies, 4))
    number, at_ms = -1, kept.start_ms
    for distance, later_ms, use_count, energy_count in _rows(kept.points, 4):
        number, at_ms = number + distance, at_ms + later_ms
        runs[number].fact = UseFolded(
            at_ms=at_ms,
            uses=[
                (slices[one], kept.base + quarter, used_ns, first, last)
                for one, quarter, used_ns, first, last in itertools.islice(uses, use_count)
            ],
            energies=[
                (*devices[one], kept.base + quarter, energy_mj, powered_ms)
                for one, quarter, energy_mj, powered_ms in itertools.islice(energies, energy_count)
            ],
        )
    for run in runs:
        for use in run.fact.uses if run.fact else ():
            device_ns[use[0]] += use[2]
    totals = [
        (slices[one], device_ns[slices[one]], throttled_ns, calls, kept.start_ms + told_ms)
        for one, throttled_ns, calls, told_ms in _rows(kept.totals, 4)
    ]
    if totals:
        last = runs[-1].fact or UseFolded(at_ms=at_ms)
        runs[-1].fact = msgspec.structs.replace(last, totals=totals)


def _pack(rows: Iterable[tuple[int, ...]]) -> bytes:
    columns = list(zip(*rows, strict=True))
    return pack([list(column) for column in columns]) if columns else b""


def _rows(packed: bytes, columns: int) -> Iterator[tuple[int, ...]]:
    numbers = unpack(packed) if packed else []
    count = len(numbers) // columns
    return zip(*(numbers[at * count : (at + 1) * count] for at in range(columns)), strict=True)


def _names(names: Iterable[str]) -> bytes:
    # A name may hold any character, an end of line too.
    return zlib.compress(msgspec.json.encode(list(names)), 6)


def _read_names(packed: bytes) -> list[str]:
    return msgspec.json.decode(zlib.decompress(packed), type=list[str])
