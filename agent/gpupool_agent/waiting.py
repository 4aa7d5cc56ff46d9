"""Calls that wait for an executor: first come, first served, except that calls alike may be taken out from among them."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from gpupool_agent.call import Call


class Waiting:
    """The line in front of the executors. Thread-safe without a lock: deque and SimpleQueue do each step at once."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque()
        #: One token for each call: waiting for one is quicker than for a condition. One too many wakes an executor in vain.
        self._tokens: queue.SimpleQueue[None] = queue.SimpleQueue()

    def __repr__(self) -> str:
        return f"<Waiting, {len(self)} calls>"

    def __len__(self) -> int:
        return len(self._calls)

    def put(self, call: Call) -> None:
        """Add a call at the end."""
        self._calls.append(call)
        self._tokens.put(None)

    def put_back(self, calls: Sequence[Call]) -> None:
        """Add calls at the front, in their order, that were taken too soon."""
        for call in reversed(calls):
            self._calls.appendleft(call)
            self._tokens.put(None)

    def get(self) -> Call:
        """Wait for a call and return it."""
        while True:
            self._tokens.get()
            try:
                return self._calls.popleft()
            except IndexError:
                continue  # it was taken out

    def like(self, is_like: Callable[[Call], bool]) -> list[Call]:
        """Return those of the calls that are so, as they wait at the moment."""
        return [call for call in self._calls.copy() if is_like(call)]

    def take(self, calls: Iterable[Call]) -> list[Call]:
        """Take these calls out; return those that were still there."""
        taken = []
        for call in calls:
            try:
                self._calls.remove(call)
            except ValueError:
                continue  # an executor has it
            taken.append(call)
            try:
                self._tokens.get_nowait()
            except queue.Empty:
                continue  # an executor that woke up for it will find it gone
        return taken
