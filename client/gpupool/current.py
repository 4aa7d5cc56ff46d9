"""The process-wide slice, for programs that never ask for one: the parent's (GPUPOOL_SLICE), else one asked for at first use."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

from gpupool.control import Control
from gpupool.forks import renew_after_fork
from gpupool.grant import decode_invitation
from gpupool.locator import BrokerLocator, FileLocator, Locator
from gpupool.pool import connect
from gpupool.slices import Slice


class _Current:
    """Holds the slice once there is one. A forked child goes on with its parent's, as a guest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slice: Slice | None = None

    def renew_in_child(self) -> None:
        self._lock = threading.Lock()

    def get(self) -> Slice:
        with self._lock:
            if self._slice is None or self._slice.has_ended:
                invitation = os.environ.get("GPUPOOL_SLICE")
                self._slice = join_as_guest(invitation) if invitation else connect().slice()
            return self._slice


def join_as_guest(invitation: str, environ: Mapping[str, str] = os.environ) -> Slice:
    """Return the slice that `invitation` (a GPUPOOL_SLICE) names, as a guest. Needs no token, and its end changes nothing.

    Where the slice moves, a program with a token (GPUPOOL_TOKEN) asks the broker, any other reads what the holder wrote.
    """
    invited = decode_invitation(invitation)
    token = environ.get("GPUPOOL_TOKEN")
    control = Control(invited.url, token) if token and invited.url else None
    locator: Locator = BrokerLocator(control) if control else FileLocator(Path(invited.file))
    return Slice(invited.grant, locator, control=control, holder=False)


_current = _Current()
renew_after_fork(_current)


def current_slice() -> Slice:
    """Return the slice of this process: the one its parent shares (GPUPOOL_SLICE), else one asked for at the first call.

    That one has the size that GPUPOOL_COMPUTE and GPUPOOL_MEMORY say (25 per cent and 2GiB by default), and is released at the
    end of the program. Raises what `connect` and `Pool.slice` raise, UsageError for a GPUPOOL_SLICE that is none.
    """
    return _current.get()
