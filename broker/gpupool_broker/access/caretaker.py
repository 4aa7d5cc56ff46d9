"""What has to be done now and then: last uses stored, sessions that are over forgotten, old entries of the audit log dropped.

every second ──> entries that wait        every minute ──> uses, sessions        every hour ──> retention
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from gpupool_broker.store.errors import StoreFailed

log = logging.getLogger(__name__)
#: A duty and every how many seconds it is done.
Duty = tuple[Callable[[], object], int]
SECOND_S: Final = 1.0


class Caretaker:
    """A thread that does duties. A store that refuses is asked again the next time."""

    def __init__(self, duties: list[Duty]) -> None:
        self._duties = duties
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="caretaker", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Do everything once more, and end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5)
        self.tend(0)

    def tend(self, second: int) -> None:
        """Do what is due in a second of its life."""
        for duty, every_s in self._duties:
            if second % every_s == 0:
                try:
                    duty()
                except StoreFailed as error:
                    log.warning("put off until later: %s", error, extra={"action": "duty_failed"})

    def _run(self) -> None:
        second = 0
        while not self._stop.wait(SECOND_S):
            second += 1
            self.tend(second)
