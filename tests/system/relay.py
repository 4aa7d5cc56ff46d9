"""A TCP relay between two parts of a pool, which a test can stall (nothing gets through) and cut (connections break)."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading

_CHUNK = 1 << 16


class Relay:
    """Listens at `(host, port)` (0: any port) and passes bytes on to `target`. A context manager."""

    def __init__(self, target: tuple[str, int], *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._target = target
        self._listener = socket.create_server((host, port))
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._flows = threading.Event()
        self._flows.set()
        self._is_over = False
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._flows.set()
        self._listener.close()
        self.cut()

    def stall(self) -> None:
        """Let nothing through any more; connections stay, as when every packet is lost."""
        self._flows.clear()

    def mend(self) -> None:
        """Let everything through again."""
        self._flows.set()

    def cut(self) -> None:
        """Break every connection; new ones are taken."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._is_over:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        try:
            host = socket.create_connection(self._target)
        except OSError:
            caller.close()
            return
        with self._lock:
            self._pairs.append((caller, host))
        with caller, host, selectors.DefaultSelector() as ready, contextlib.suppress(OSError):
            ready.register(caller, selectors.EVENT_READ, host)
            ready.register(host, selectors.EVENT_READ, caller)
            while True:
                for key, _ in ready.select():
                    self._flows.wait()
                    source, sink = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    if not (data := source.recv(_CHUNK)):
                        return
                    sink.sendall(data)
