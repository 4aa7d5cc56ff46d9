"""The thread that sends operations nobody reads. It looks every millisecond while there are some, and sleeps otherwise."""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gpupool.arrays.stream import ArrayStream

#: An operation is sent at the latest so long after it was called, while the program goes on calling.
SEND_S: Final = 0.001
#: The thread stops looking so long after the last operation: waking it takes longer than an operation.
LOOK_S: Final = 0.05
#: How soon memory of arrays that died without another operation is given back.
DROP_S: Final = 1.0


class Sender:
    """Sends for one stream, for as long as there is one."""

    def __init__(self, stream: ArrayStream) -> None:
        self._stream = weakref.ref(stream)
        self._wakes = threading.Event()
        self._is_awake = False
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def notice(self) -> None:
        """An operation was added."""
        if self._is_awake:
            return
        self._is_awake = True
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._send, name="gpupool-arrays", daemon=True)
                self._thread.start()
        self._wakes.set()

    def _send(self) -> None:
        while self._stream() is not None:
            if not self._await_more():
                self._sleep()
                continue
            stream = self._stream()
            if stream is not None:
                stream.flush_quietly()
            del stream

    def _await_more(self) -> bool:
        """Look until there is something to send; return False where nothing has come for a while."""
        until = time.monotonic() + LOOK_S
        while time.monotonic() < until:
            time.sleep(SEND_S)
            if self._has_more():
                return True
        return False

    def _sleep(self) -> None:
        """Sleep until an operation is added, or arrays may have died."""
        self._wakes.clear()
        self._is_awake = False
        if not self._has_more():  # added before it could see that nobody looks
            self._wakes.wait(DROP_S)

    def _has_more(self) -> bool:
        stream = self._stream()
        return stream is not None and stream.has_more
