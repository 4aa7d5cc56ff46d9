"""A model's inputs as they travel: arrays of the slice by id, tensors seen before by digest, others coded for the link.

feed ──held?──▶ HeldSpec     ──seen before?──▶ SeenSpec     ──Coder──▶ TensorSpec and frames
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from gpupool.link import Link
from gpupool_wire.coding import Coder
from gpupool_wire.coding.seen import Seen
from gpupool_wire.tensors import SeenSpec, TensorSpec, Value, ValueSpec, name_of, pack_value

if TYPE_CHECKING:
    from gpupool.arrays import Namespace

Inputs = list[tuple[str, ValueSpec]]


class Feeds:
    """Packs the inputs of one model. Thread-safe."""

    def __init__(self) -> None:
        #: What was learnt of each input.
        self._coders: dict[str, Coder] = {}
        self._seen: tuple[Link | None, Seen] = None, Seen()

    def pack(
        self, feed: Mapping[str, Value], namespace: Callable[[], Namespace], link: Link | None, *, may_name: bool
    ) -> tuple[Inputs, list[memoryview]]:
        """Return a feed as it travels on `link`. `may_name`: whether tensors may be named that were sent before."""
        arrays = sys.modules.get("gpupool.arrays.feeding")  # nothing is imported for a feed without arrays of the slice
        held = arrays.held_inputs(namespace, feed) if arrays is not None else {}
        speed = link.pace.bytes_per_s if link is not None else 0
        seen = self._seen_on(link) if speed and may_name else None
        inputs: Inputs = []
        frames: list[memoryview] = []
        for name, value in feed.items():
            spec: ValueSpec
            if name in held:
                spec = held[name]
            elif not speed:
                spec, more = pack_value(value)
                frames += more
            else:
                spec, more = self._coded(name, value, speed, seen)
                frames += more
            inputs.append((name, spec))
        return inputs, frames

    def missing(self, link: Link, inputs: Inputs) -> None:
        """The worker lacks tensors that were named to it; it does not say which."""
        for _, spec in inputs:
            if isinstance(spec, SeenSpec):
                self._seen_on(link).missing(spec.digest)

    def _coded(self, name: str, value: Value, speed: float, seen: Seen | None) -> tuple[ValueSpec, list[memoryview]]:
        digest, is_kept = seen.look(value) if seen is not None and isinstance(value, np.ndarray) else (b"", False)
        if is_kept:
            return SeenSpec(digest, name_of(value.dtype), tuple(value.shape)), []
        spec, frames = pack_value(value, partial(self._coder(name).pack, bytes_per_s=speed))
        if digest and isinstance(spec, TensorSpec):
            spec = msgspec.structs.replace(spec, digest=digest)
        return spec, frames

    def _coder(self, name: str) -> Coder:
        return self._coders.get(name) or self._coders.setdefault(name, Coder(time.perf_counter_ns))

    def _seen_on(self, link: Any) -> Seen:  # noqa: ANN401 - compared only
        if self._seen[0] is not link:
            self._seen = link, Seen()
        return self._seen[1]
