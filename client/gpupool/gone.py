"""How the other end of a line can be lost."""

from __future__ import annotations

from gpupool_wire.errors import WorkerLost


class Gone(WorkerLost):
    """The connection is gone."""


class Silent(WorkerLost):
    """No answer came in time."""
