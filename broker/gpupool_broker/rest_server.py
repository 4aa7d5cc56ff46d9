"""The HTTP port: one listening socket for the life of the process, behind it now one application, now another.

listen ──run(standby)──end──> run(REST)──end or a signal──> …          who connects in between is answered by the next one
"""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import threading
from pathlib import Path
from types import FrameType, TracebackType

import uvicorn
from starlette.types import ASGIApp

from gpupool_wire.addresses import Address
from gpupool_wire.errors import UsageError

#: Requests in flight may take this long to end when the broker stops.
STOP_S = 3


class RestServer:
    """Owns the socket and the process's SIGTERM and SIGINT. A context manager, used in the main thread."""

    def __init__(self, address: Address, tls: tuple[Path, Path] | None = None) -> None:
        self._tls = tls
        if tls:
            _check(*tls)
        self._listener = _listen(address)
        self._stopping = threading.Event()
        self._running: uvicorn.Server | None = None
        self._before: dict[int, object] = {}

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._listener.getsockname()[:2]
        return f"{'https' if self._tls else 'http'}://{Address(host, port)}"

    @property
    def is_stopping(self) -> bool:
        """Whether the process was told to stop."""
        return self._stopping.is_set()

    def run(self, app: ASGIApp) -> None:
        """Serve an application until `end`, or until the process is told to stop."""
        certificate, key = self._tls or (None, None)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=STOP_S,
            lifespan="off",
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        server = uvicorn.Server(config)
        # The signals are ours: uvicorn would raise them again afterwards.
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
        self._running = server
        if not self.is_stopping:
            # It closes what it is given.
            server.run(sockets=[self._listener.dup()])

    def end(self) -> None:
        """Have `run` return, from any thread."""
        if self._running is not None:
            self._running.should_exit = True

    def __enter__(self) -> RestServer:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._listener.close()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping.set()
        self.end()


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
    except OSError as error:
        listener.close()
        raise UsageError(f"cannot listen on {address}: {error.strerror}; choose another with --http") from error
    # Listening before it is announced: who reads the ready file may connect at once.
    listener.listen(512)
    return listener


def _check(certificate: Path, key: Path) -> None:
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except OSError as error:
        raise UsageError(f"TLS cannot be served with {certificate} and {key}: {error}") from error
