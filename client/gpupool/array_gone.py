"""The loss of one array, which is no loss of a worker: nothing is gained by asking the next one."""

from __future__ import annotations

from gpupool_wire.errors import WorkerLost


class ArrayGone(WorkerLost):
    """The array was lost with its worker, and cannot be made again."""
