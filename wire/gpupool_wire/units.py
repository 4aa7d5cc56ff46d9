"""Integer units: compute in whole per cent of one device, memory in whole MiB.

Fractions of a unit are refused rather than rounded: 0.9999 of a GPU is how other pools lose the last slice.
"""

from __future__ import annotations

import re
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from gpupool_wire.errors import UsageError

MIB = 1024 * 1024
COMPUTE_MIN_PCT = 1
COMPUTE_MAX_PCT = 100
#: 64 TiB: larger than any device, small enough that sums stay far inside 64 bits.
MEMORY_MAX_MIB = 64 * 1024 * 1024
#: A request's priority: higher ones are served first. Above the usual one an account needs to be entitled.
PRIORITY_USUAL = 50
PRIORITY_MAX = 100
#: Devices of one request: more than any machine has, few enough to be weighed at once.
GPUS_MAX = 256

_SUFFIX_BYTES = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 1024,
    "k": 1024,
    "mib": MIB,
    "m": MIB,
    "gib": 1024 * MIB,
    "g": 1024 * MIB,
    "tib": 1024 * 1024 * MIB,
    "t": 1024 * 1024 * MIB,
}
_MEMORY = re.compile(r"\s*(?P<number>[0-9]{1,18}(?:\.[0-9]{1,18})?)\s*(?P<suffix>[A-Za-z]{1,3})?\s*", re.ASCII)


class Policy(StrEnum):
    """What a slice may do with device time nobody else wants."""

    #: Never more than its compute, even alone.
    FIXED = "fixed"
    #: At least its compute when it wants it; idle device time is shared out in proportion.
    BURST = "burst"


class Hold(StrEnum):
    """What ends a lease, apart from its time."""

    #: Ends with the link of the process that holds it.
    ATTACHED = "attached"
    #: Stays until somebody releases it (REST, CLI, web page).
    HELD = "held"


class Arrange(StrEnum):
    """Where the devices of one request for several are, seen from each other."""

    #: On as few nodes as possible.
    PACK = "pack"
    #: On as many nodes as possible.
    SPREAD = "spread"


class Apart(StrEnum):
    """What a slice does not share with its account's other slices of the same label."""

    NO = "no"
    DEVICE = "device"
    NODE = "node"


def parse_memory(value: int | str) -> int:
    """Return whole MiB from an integer (MiB) or a text such as "2GiB", "512MiB", "1.5 GiB" or "2048".

    Decimal suffixes (MB, GB) are powers of 1000, binary ones (MiB, GiB, and the short M, G) powers of 1024; a bare number is MiB.
    Raises UsageError where the amount is not a whole, positive number of MiB.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise UsageError(f'memory must be an integer (MiB) or a text such as "2GiB", not {type(value).__name__} {value!r}')
    if isinstance(value, int):
        return check_memory(value)
    match = _MEMORY.fullmatch(value)
    factor = _SUFFIX_BYTES.get((match["suffix"] or "mib").lower()) if match else None
    if match is None or factor is None:
        raise UsageError(f'memory {value!r} is not understood: write a number and a unit, such as "512MiB" or "2GiB"')
    mib = Fraction(Decimal(match["number"])) * factor / MIB
    if mib.denominator != 1:
        below, above = int(mib), int(mib) + 1
        raise UsageError(
            f"memory {value!r} is {float(mib):.3f} MiB, which is not a whole number of MiB: ask for {below or above}MiB"
            + (f" or {above}MiB" if below else "")
        )
    return check_memory(int(mib))


def check_memory(mib: int) -> int:
    """Return `mib` if it is a possible amount of slice memory in MiB; raise UsageError otherwise."""
    if not 1 <= mib <= MEMORY_MAX_MIB:
        raise UsageError(f"memory must be 1 to {MEMORY_MAX_MIB} MiB, not {mib}")
    return mib


def parse_compute(value: int | str) -> int:
    """Return whole per cent from an integer or a text such as "25" or "25%".

    Raises UsageError where it is not a whole number from 1 to 100.
    """
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(-?[0-9]{1,9})\s*%?\s*", value, re.ASCII)):
        value = int(match[1])
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"compute must be a whole number of per cent from {COMPUTE_MIN_PCT} to {COMPUTE_MAX_PCT}, not {value!r}")
    if not COMPUTE_MIN_PCT <= value <= COMPUTE_MAX_PCT:
        raise UsageError(f"compute must be {COMPUTE_MIN_PCT} to {COMPUTE_MAX_PCT} per cent of one device, not {value}")
    return value


def parse_elastic(value: int | str) -> tuple[int, int]:
    """Return the least and the most of a size that follows what is idle, such as "10..50"; (25, 0) for a plain 25.

    Raises UsageError where it is neither, or the most is below the least.
    """
    least, dots, most = value.partition("..") if isinstance(value, str) else (value, "", "")
    if not dots:
        return parse_compute(value), 0
    low, high = parse_compute(least), parse_compute(most.removesuffix("%"))
    if high < low:
        raise UsageError(f"compute {value!r} has its most below its least: write it as {high}..{low}")
    return low, high if high > low else 0


def format_memory(mib: int) -> str:
    """Return a short exact text: "512 MiB", "2 GiB"; GiB only where nothing is lost."""
    return f"{mib // 1024} GiB" if mib and mib % 1024 == 0 else f"{mib} MiB"
