"""How fast a link is taken to be when tensors are coded for it, and what coding has kept off it.

call ──ns, bytes──> observe ──> LinkSpeed ──bytes_per_s──> Coder, here and on the worker      GPUPOOL_CODING=auto|off|always
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final

from gpupool.settings import CodingMode
from gpupool_wire.addresses import parse_address
from gpupool_wire.coding.link_speed import LinkSpeed
from gpupool_wire.coding.sizes import saved_nbytes
from gpupool_wire.messages.timing import Timing
from gpupool_wire.tensors import ValueSpec

#: What a link between hosts is taken for until it has carried something: 1 Gbit/s. To the own host: more than coding is worth.
UNKNOWN_SPEED: Final = 125e6
OWN_HOST_SPEED: Final = 4e9
#: On the own host what makes a link slow is mostly that the cores are busy, which coding makes worse. Where not one of the latest
#: messages was as fast as this (bytes per second), it is a tunnel to elsewhere.
TUNNEL_SPEED: Final = 50e6
#: No coding is quicker than such a link (bytes per second), so nothing is looked at.
FAST: Final = 3e9
#: With `always`, tensors are coded as for this.
SLOW: Final = 1e6


def on_worker_ns(timing: Timing) -> int:
    """Return what of a call's wait was not spent on the link."""
    return timing.queue_ns + timing.throttle_ns + timing.execute_ns + timing.coding_ns


class Pace:
    """What is known of one link. Thread-safe."""

    def __init__(self, worker: str, mode: CodingMode) -> None:
        self.mode = mode
        #: Whether calls stay on this host.
        self.is_own_host = parse_address(worker, 0).is_loopback
        self._speed = LinkSpeed(OWN_HOST_SPEED if self.is_own_host else UNKNOWN_SPEED)
        self._saving = threading.Lock()
        self._saved_bytes = 0

    def __repr__(self) -> str:
        return f"<Pace, {self.mode.value}, {self._speed!r}, {self._saved_bytes} bytes saved>"

    @property
    def bytes_per_s(self) -> float:
        """The speed that tensors are to be coded for; 0 where they travel as they are."""
        if self.mode is not CodingMode.AUTO:
            return 0 if self.mode is CodingMode.OFF else SLOW
        speed = self._speed.bytes_per_s
        return 0 if speed > (TUNNEL_SPEED if self.is_own_host else FAST) else speed

    @property
    def saved_bytes(self) -> int:
        """How many bytes more the tensors of its calls would have been without coding."""
        return self._saved_bytes

    def observe(self, nbytes: int, ns: int, specs: Iterable[ValueSpec] = ()) -> None:
        """Take note of a call whose tensors were `nbytes` on their way there and back, which took `ns`; and of those tensors."""
        self._speed.observe(nbytes, ns)
        if saved := saved_nbytes(specs):
            with self._saving:
                self._saved_bytes += saved
