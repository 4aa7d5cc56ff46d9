"""What waits for room, in the order in which it is served.

    priority, the highest first ──> account, the one furthest behind its share first ──> the order of arrival

Requests of one account, priority and want are a group: where its head has no room, none of it has. So a look at the queue costs
as much as there are groups to look at, not requests; arrival, end and cancellation cost the same in a queue of 100,000.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Iterator

from gpupool_broker.core import events as e
from gpupool_broker.core.wants import Want

#: How much of its due an account has had: less is served first.
Standing = Callable[[str], tuple[float, ...]]
#: More waiting requests than that and the queue itself is the outage.
MAX_WAITING = 100_000


class Waiting:
    """A request in the queue."""

    __slots__ = ("event", "reason", "seq", "until_ms", "want")

    def __init__(self, event: e.SliceRequested, want: Want, reason: str) -> None:
        self.event = event
        self.want = want
        self.until_ms = event.now_ms + event.request.wait_ms
        self.reason = reason
        #: When it came, among all that wait.
        self.seq = 0

    def __repr__(self) -> str:
        return f"<Waiting {self.request_id} of {self.want.account}: {self.reason}>"

    @property
    def request_id(self) -> str:
        """The request's id."""
        return self.event.request.request_id


class _Line:
    """What one account waits for at one priority: groups, by the arrival of their heads."""

    def __init__(self) -> None:
        self.groups: dict[Want, OrderedDict[int, Waiting]] = {}
        self.heads: list[tuple[int, Want]] = []

    def add(self, waiting: Waiting) -> None:
        group = self.groups.get(waiting.want)
        if group is None:
            group = self.groups[waiting.want] = OrderedDict()
            insort(self.heads, (waiting.seq, waiting.want), key=_seq)
        group[waiting.seq] = waiting

    def remove(self, waiting: Waiting) -> None:
        group = self.groups[waiting.want]
        was_head = next(iter(group)) == waiting.seq
        del group[waiting.seq]
        if not was_head:
            return
        del self.heads[bisect_left(self.heads, waiting.seq, key=_seq)]
        if group:
            insort(self.heads, (next(iter(group)), waiting.want), key=_seq)
        else:
            del self.groups[waiting.want]


class Queue:
    """The waiting requests. `standing` of an account says how much of its due it has had: less comes first."""

    def __init__(self) -> None:
        self._lines: dict[int, dict[str, _Line]] = {}
        self._by_id: OrderedDict[str, Waiting] = OrderedDict()
        self._deadlines: list[tuple[int, int, str]] = []
        self._seq = 0

    def __repr__(self) -> str:
        return f"<Queue of {len(self._by_id)}>"

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Waiting]:
        """Yield all in the order they came."""
        return iter(self._by_id.values())

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._by_id

    def get(self, request_id: str) -> Waiting | None:
        """Return the request of this id, if it waits."""
        return self._by_id.get(request_id)

    def add(self, waiting: Waiting) -> None:
        """Let a request wait. A repeat of one takes the place of the first: its caller may be another."""
        if known := self._by_id.get(waiting.request_id):
            known.event = waiting.event
            return
        self._seq += 1
        waiting.seq = self._seq
        self._by_id[waiting.request_id] = waiting
        self._lines.setdefault(waiting.want.priority, {}).setdefault(waiting.want.account, _Line()).add(waiting)
        heapq.heappush(self._deadlines, (waiting.until_ms, waiting.seq, waiting.request_id))

    def remove(self, waiting: Waiting) -> None:
        """Take a request out."""
        del self._by_id[waiting.request_id]
        accounts = self._lines[waiting.want.priority]
        line = accounts[waiting.want.account]
        line.remove(waiting)
        if not line.groups:
            del accounts[waiting.want.account]
            if not accounts:
                del self._lines[waiting.want.priority]

    def overdue(self, now_ms: int) -> Iterator[Waiting]:
        """Yield the requests whose time is over, and take them out."""
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            _, seq, request_id = heapq.heappop(self._deadlines)
            waiting = self._by_id.get(request_id)
            if waiting is not None and waiting.seq == seq:
                self.remove(waiting)
                yield waiting

    def of_caller(self, caller: e.Caller) -> list[Waiting]:
        """Return what one caller waits for."""
        return [waiting for waiting in self._by_id.values() if waiting.event.caller == caller]

    def heads(self, standing: Standing) -> Iterator[Waiting]:
        """Yield the head of every group, in the order in which they are served."""
        for line in self._in_order(standing):
            for seq, want in list(line.heads):
                yield line.groups[want][seq]

    def in_order(self, standing: Standing) -> Iterator[Waiting]:
        """Yield every waiting request, in the order in which they are served."""
        for line in self._in_order(standing):
            yield from heapq.merge(*(group.values() for group in line.groups.values()), key=lambda waiting: waiting.seq)

    def outranks(self, want: Want, other: Waiting, standing: Standing) -> bool:
        """Whether a request that comes now would be served before one that waits."""
        mine, theirs = (-want.priority, standing(want.account)), (-other.want.priority, standing(other.want.account))
        return mine < theirs

    def _in_order(self, standing: Standing) -> Iterator[_Line]:
        for priority in sorted(self._lines, reverse=True):
            accounts = self._lines[priority]
            for account in sorted(accounts, key=lambda name: (standing(name), name)):
                yield accounts[account]


def _seq(head: tuple[int, Want]) -> int:
    return head[0]
