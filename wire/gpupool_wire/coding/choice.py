"""Which coding is quickest for a tensor on a link: a sum of measured costs, in nanoseconds a byte of the tensor as it is.

    raw: link               coded: weight * (encoding + decoding) + ratio * link               the least wins; raw, if it is close

What was measured fades towards what is usual, so that a coding that did badly once (another program had the core, an image was
noise) is tried again some time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Method(StrEnum):
    """How a tensor travels."""

    RAW = "raw"
    #: One byte a pixel and a table.
    PALETTE = "palette"
    PALETTE_ZSTD = "palette+zstd"
    ZSTD = "zstd"
    #: First bytes of all elements first, then second ones, and so on.
    SHUFFLE_ZSTD = "shuffle+zstd"


@dataclass(slots=True)
class Figure:
    """What a method costs (ns a byte) and what it leaves of a tensor."""

    encode_ns: float
    ratio: float


#: What is usual, measured on receipts on one 2.4 GHz core (bench/coding.py); and decoding's time as a part of encoding's.
_USUAL: Final = {
    Method.PALETTE: Figure(0.8, 0.25),
    Method.PALETTE_ZSTD: Figure(1.3, 0.08),
    Method.ZSTD: Figure(1.5, 0.35),
    Method.SHUFFLE_ZSTD: Figure(4.0, 0.4),
}
_DECODING: Final = {
    Method.PALETTE: 0.3,
    Method.PALETTE_ZSTD: 0.5,
    Method.ZSTD: 0.5,
    Method.SHUFFLE_ZSTD: 0.5,
}
#: What a core's time counts beside a link's: others' traffic shares a link, and the core that codes would wait for it.
_CORE_WEIGHT: Final = 0.6
#: A coding has to be this much quicker than raw: less is within what the estimates are wrong by.
_MARGIN: Final = 0.9
#: The weight of the newest measurement, and how far what was not measured moves back to the usual with each choice.
_NEWEST: Final = 0.5
_FADING: Final = 0.02
#: The weight of one that took longer than usual: mostly another program had the core meanwhile.
_SLOWER: Final = 0.1


class Choice:
    """What the methods cost for tensors from one source."""

    __slots__ = ("_figures",)

    def __init__(self) -> None:
        self._figures = {method: Figure(usual.encode_ns, usual.ratio) for method, usual in _USUAL.items()}

    def best(self, methods: Iterable[Method], link_ns: float) -> Method:
        """Return the quickest of `methods`, or raw, on a link that takes `link_ns` nanoseconds a byte."""
        best, least = Method.RAW, _MARGIN * link_ns
        for method in methods:
            figure = self._figures[method]
            cost = _CORE_WEIGHT * figure.encode_ns * (1 + _DECODING[method]) + figure.ratio * link_ns
            if cost < least:
                best, least = method, cost
        self._fade(best)
        return best

    def measured(self, method: Method, nbytes: int, coded_bytes: int, encode_ns: int) -> None:
        """Take note of what a method did to a tensor of `nbytes`."""
        figure = self._figures[method]
        took_ns = encode_ns / nbytes
        figure.encode_ns += (_NEWEST if took_ns < figure.encode_ns else _SLOWER) * (took_ns - figure.encode_ns)
        figure.ratio += _NEWEST * (coded_bytes / nbytes - figure.ratio)

    def _fade(self, chosen: Method) -> None:
        for method, figure in self._figures.items():
            if method is not chosen:
                usual = _USUAL[method]
                figure.encode_ns += _FADING * (usual.encode_ns - figure.encode_ns)
                figure.ratio += _FADING * (usual.ratio - figure.ratio)
