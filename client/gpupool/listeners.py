"""Who wants to know of every exchange of a slice. Most of the time nobody does, and nothing of the profiler is imported."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gpupool.forks import renew_after_fork

if TYPE_CHECKING:
    from gpupool.profiling.watch import Sink, Watch


class Listeners:
    """The listeners of one slice; among them the file of `gpupool run --profile`, where that is asked for. Thread-safe."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        #: What calls go through while somebody listens.
        self.watch: Watch | None = None
        self._changing = threading.Lock()
        renew_after_fork(self)
        if environ.get("GPUPOOL_PROFILE"):
            from gpupool.profiling.files import sink_of

            if (file := sink_of(environ)) is not None:
                self.add(file)

    def __repr__(self) -> str:
        return f"<Listeners, {self.watch!r}>"

    def renew_in_child(self) -> None:
        """Have a lock of its own in a forked child."""
        self._changing = threading.Lock()

    def add(self, sink: Sink) -> None:
        """Have a listener told from now on."""
        from gpupool.profiling.watch import Watch

        with self._changing:
            self.watch = Watch([*(self.watch.sinks if self.watch else ()), sink])

    def remove(self, sink: Sink) -> None:
        """Have a listener told no more."""
        from gpupool.profiling.watch import Watch

        with self._changing:
            rest = [one for one in (self.watch.sinks if self.watch else ()) if one != sink]
            self.watch = Watch(rest) if rest else None
