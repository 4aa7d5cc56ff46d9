"""The thread that keeps a link: it holds the link's first channel, which lives as long as the link and carries no calls.

It costs a call nothing, because no call passes through it. What it is for: the slice's holder notices at once, also while it is
idle, that the worker has gone; probes are taken off the socket; forgotten sessions are closed; unused channels are trimmed.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from gpupool.line import Line
from gpupool_wire.errors import GpupoolError
from gpupool_wire.messages import Leave, SliceNews, WorkerToClient

_log = logging.getLogger(__name__)


class Keeper(threading.Thread):
    """Owns `line` from `start` on; calls `on_turn` about once a second and `on_end` once, with the reason, when the line ends.

    `on_news` gets what the worker says of its slice in between.
    """

    def __init__(
        self,
        line: Line[WorkerToClient],
        on_turn: Callable[[], None],
        on_news: Callable[[SliceNews], None],
        on_end: Callable[[GpupoolError], None],
    ) -> None:
        super().__init__(name="gpupool-keeper", daemon=True)
        self._line = line
        self._on_turn = on_turn
        self._on_news = on_news
        self._on_end = on_end
        self._wake_fd, self._waker_fd = os.pipe()
        self._guard = threading.Lock()
        self._has_ended = False

    def run(self) -> None:
        """Listen until told to leave or until the line ends."""
        try:
            # The worker probes every channel once a second, which makes the turns.
            while (message := self._line.listen(self._wake_fd)) is not None:
                if isinstance(message, SliceNews):
                    self._on_news(message)
                self._on_turn()
        except GpupoolError as error:
            _log.debug("link ended: %s", error)
            self._on_end(error)
        finally:
            self._line.close(goodbye=Leave())
            with self._guard:
                self._has_ended = True
                os.close(self._wake_fd)
                os.close(self._waker_fd)

    def leave(self) -> None:
        """Have it say goodbye to the worker and end. Idempotent."""
        with self._guard:
            if not self._has_ended:
                os.write(self._waker_fd, b"x")
