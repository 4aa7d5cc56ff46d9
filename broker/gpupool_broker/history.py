"""Takes the samples of how the pool is used, and keeps them over a restart.

    every ten seconds: pool ──overview──> sample ──> History ──now and then──> history.mpk

They are for looking at: what is billed comes from the journal. A broker that takes over on another machine begins anew.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import msgspec

from gpupool_broker.core.history import SAMPLE_S, History, Sample, sample_of
from gpupool_broker.core.overview import overview
from gpupool_broker.service import Broker, wall_ms
from gpupool_wire.errors import GpupoolError

log = logging.getLogger(__name__)
_samples: msgspec.msgpack.Decoder[list[Sample]] = msgspec.msgpack.Decoder(list[Sample])


class Recorder:
    """Owns the thread that looks at the pool."""

    def __init__(self, broker: Broker, file: Path, every_s: float = SAMPLE_S) -> None:
        self._broker = broker
        self._file = file
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self.history = History(_read(file))

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Keep what there is, and stop."""
        self._stop.set()
        self._thread.join(5)
        self._keep()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                seen = self._broker.read(overview)
            except (GpupoolError, TimeoutError) as error:
                log.debug("no sample was taken: %s", error)
                continue
            if self.history.note(sample_of(seen, wall_ms())):
                self._keep()

    def _keep(self) -> None:
        """Write the coarse samples, whole or not at all. A disk that is full costs a chart and nothing else."""
        draft = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        try:
            draft.write_bytes(msgspec.msgpack.encode(list(self.history.coarse)))
            draft.replace(self._file)
        except OSError as error:
            log.warning("the history of use is not kept: %s", error, extra={"action": "history_not_kept"})


def _read(file: Path) -> list[Sample]:
    try:
        return _samples.decode(file.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("the history of use begins anew: %s cannot be read: %s", file, error, extra={"action": "history_anew"})
        return []
