"""The process of a service or worker: a slice, an instance on it, and HTTP in front."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from gpupool_ocr.local import LocalFactory
from gpupool_ocr.pool import pool_factory
from gpupool_ocr.service.instance import open_instance
from gpupool_ocr.service.settings import Settings
from gpupool_ocr.sessions import SliceSource
from gpupool_wire.errors import UsageError
from gpupool_wire.units import parse_compute

#: Connections that wait to be accepted.
BACKLOG = 512
#: A stop waits so long for answers under way (seconds).
GRACE_S = 25


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where the models run."""

    compute: str = "100"
    memory: str = "2GiB"
    local: bool = False

    def factory(self) -> AbstractContextManager[SliceSource]:
        """Hold a slice, or nothing where the models run here."""
        return (
            nullcontext(LocalFactory()) if self.local else pool_factory(compute=parse_compute(self.compute), memory=self.memory)
        )


def serve(settings: Settings, place: Place) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises UsageError where the port is taken."""
    import uvicorn

    settings.check()
    # uvicorn ends by raising the signal that stopped it again: it must not take what is put in order behind it with it.
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    listener = _listen(settings.host, settings.port)
    with listener, place.factory() as factory, open_instance(settings, factory) as parts:
        from gpupool_ocr.service.app import make_app

        config = uvicorn.Config(make_app(parts), log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE_S)
        print(f"gpupool ocr serves at http://{settings.host}:{listener.getsockname()[1]}", flush=True)
        uvicorn.Server(config).run(sockets=[listener])


def work(settings: Settings, place: Place) -> None:
    """Read jobs until SIGTERM or Ctrl-C."""
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    with place.factory() as factory, open_instance(settings, factory) as parts:
        print(f"gpupool ocr worker {parts.instance} reads for {settings.redis}", file=sys.stderr, flush=True)
        threading.Event().wait()


def _leave(*_: object) -> None:
    raise SystemExit(0)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
    listener.listen(BACKLOG)
    return listener
