"""The client's end of the broker's control port: slices are asked for, resized, released and located.

ask ──▶ Line ══▶ broker            a broken line is opened and greeted anew, and the same question repeated,
 ▲────── answer ◀──┘               until the deadline; a repeated request id gets the recorded answer

Where several brokers are named, one serves and the others stand by: the next is tried where one does not answer.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import socket as sockets
import sys
import threading
import time
import uuid
from typing import Final, TypeVar

import msgspec

from gpupool.forks import renew_after_fork
from gpupool.line import Gone, Line, Silent, why_unresolvable
from gpupool_wire.codec import FROM_BROKER
from gpupool_wire.conversation import CLIENT_AND_BROKER
from gpupool_wire.errors import GpupoolError, PoolUnreachable, ProtocolError, RemoteProtocolError
from gpupool_wire.limits import ANSWER_S
from gpupool_wire.messages import (
    PROTOCOL_VERSION,
    BrokerToClient,
    CancelRequest,
    GangGranted,
    Hello,
    LocateSlice,
    Message,
    Ping,
    Pong,
    ReleaseSlice,
    RequestSlice,
    ResizeSlice,
    SliceGranted,
    SliceReleased,
    SliceResized,
    Welcome,
)

A = TypeVar("A", bound=Message)

#: Between two attempts to reach a broker that is (re)starting.
RETRY_S: Final = 0.1
#: Where another broker may serve, no time is lost on one that does not greet.
GREET_S: Final = 1.5
#: How long a question waits for a standby to take over, beside its own time.
TAKE_OVER_S: Final = 5.0


def program_name() -> str:
    """Return who asks, for people: "ocr.py on desk-7"."""
    program = os.path.basename(sys.argv[0] if sys.argv and sys.argv[0] else sys.executable) or "python"
    return f"{program} on {sockets.gethostname()}"[:512]


class Control:
    """One tenant's conversation with the broker. Thread-safe: one question is in flight, others wait their turn."""

    def __init__(self, url: str, token: str, *, timeout_s: float = ANSWER_S, name: str | None = None) -> None:
        #: One address, or several with commas between.
        self.url = url
        #: The one to ask is the first.
        self._urls = collections.deque(url.split(","))
        self._why: dict[str, GpupoolError] = {}
        self.tenant = ""
        self.broker = ""
        self._token = token
        self._timeout_s = timeout_s
        self._name = program_name() if name is None else name
        self._lock = threading.Lock()
        self._line: Line[BrokerToClient] | None = None
        self._call_ids = itertools.count(1)
        renew_after_fork(self)

    def __repr__(self) -> str:
        return f"<Control of {self.url}, {'open' if self._line is not None and self._line.is_open else 'closed'}>"

    def __del__(self) -> None:
        # A slice keeps its control after its pool was closed, and may reopen the line; nobody is left to close it then.
        line = self.__dict__.get("_line")
        if line is not None:
            line.close()

    def renew_in_child(self) -> None:
        """Leave the parent's line to the parent; the child's first question opens its own."""
        self._lock = threading.Lock()

    def connect(self) -> None:
        """Greet the broker. Raises PoolUnreachable, NotAuthorized, or RemoteProtocolError where it speaks another version."""
        self._ask(Ping(call_id=next(self._call_ids)), Pong)

    def request_slices(self, request: RequestSlice) -> list[SliceGranted]:
        """Ask for slices, and wait for room as long as the request says. Raises SliceRefused with the numbers compared.

        An interrupted wait (Ctrl-C) takes the request out of the queue.
        """
        question = msgspec.structs.replace(request, call_id=next(self._call_ids))
        if not request.wait_ms:
            return self._ask_for(question)
        # A long wait must not keep other threads from releasing what this one waits for.
        waiting = Control(",".join(self._urls), self._token, timeout_s=self._timeout_s, name=self._name)
        try:
            return waiting._ask_for(question)
        except BaseException:
            with contextlib.suppress(GpupoolError):
                self._ask(CancelRequest(call_id=next(self._call_ids), request_id=request.request_id), Pong)
            raise
        finally:
            waiting.close()

    def _ask_for(self, question: RequestSlice) -> list[SliceGranted]:
        wait_s = question.wait_ms / 1000
        if question.count == 1:
            return [self._ask(question, SliceGranted, wait_s)]
        return self._ask(question, GangGranted, wait_s).members

    def locate_slice(self, slice_id: str) -> SliceGranted:
        """Return where the slice is now. Raises NotFound or LeaseLost where it has ended, Conflict while it is stranded."""
        return self._ask(LocateSlice(call_id=next(self._call_ids), slice_id=slice_id), SliceGranted)

    def resize_slice(
        self, slice_id: str, *, compute_pct: int | None, memory_mib: int | None, deadline_s: float = 0.0
    ) -> SliceResized:
        """Change a slice's size. Raises SliceRefused with the numbers compared, Conflict for less memory than it uses."""
        question = ResizeSlice(
            call_id=next(self._call_ids),
            request_id=uuid.uuid4().hex,
            slice_id=slice_id,
            compute_pct=compute_pct,
            memory_mib=memory_mib,
            deadline_ms=int(deadline_s * 1000),
        )
        return self._ask(question, SliceResized, deadline_s + ANSWER_S)

    def release_slice(self, slice_id: str) -> None:
        """Give a slice back. Raises NotFound or LeaseLost where it has ended already."""
        self._ask(ReleaseSlice(call_id=next(self._call_ids), request_id=uuid.uuid4().hex, slice_id=slice_id), SliceReleased)

    def close(self) -> None:
        """Close the line. Idempotent; a later question opens another."""
        with self._lock:
            self._drop_line()

    def _ask(self, question: Message, answer: type[A], wait_s: float = 0.0) -> A:
        deadline = time.monotonic() + self._timeout_s + wait_s
        tried = 0
        with self._lock:
            while True:
                was_greeted = self._line is not None and self._line.is_open
                try:
                    reply = self._ask_once(question, deadline)
                except (Gone, Silent) as error:
                    if was_greeted and isinstance(error, Gone) and len(self._urls) > 1:
                        deadline = max(deadline, time.monotonic() + TAKE_OVER_S)
                    self._try_another(error, deadline, was_greeted=was_greeted)
                    tried += 1
                    # Once round before a pause: another broker may serve by now.
                    time.sleep(0.0 if was_greeted or tried % len(self._urls) else RETRY_S)
                    continue
                except ProtocolError:
                    # A broker that has forgotten us answers for the whole conversation, which ends the line: greet anew, once.
                    if not was_greeted or (self._line is not None and self._line.is_open):
                        raise
                    continue
                if not isinstance(reply, answer):
                    self._drop_line()
                    raise RemoteProtocolError(f"the broker answered {type(question).__name__} with {type(reply).__name__}")
                return reply

    def _try_another(self, error: GpupoolError, deadline: float, *, was_greeted: bool) -> None:
        """Turn to the next address; raise PoolUnreachable where there is no time, or no address, left to try."""
        is_greeting_late = isinstance(error, Silent) and not was_greeted and len(self._urls) > 1
        self._why[self._urls[0]] = error
        if (isinstance(error, Silent) and not is_greeting_late) or time.monotonic() + RETRY_S >= deadline:
            raise self._unreachable(error) from error
        self._drop_line()
        self._urls.rotate(-1)

    def _ask_once(self, question: Message, deadline: float) -> BrokerToClient:
        """Ask on the present line, or on a new one on which the broker knows us."""
        line = self._line
        if line is None or not line.is_open:
            self._drop_line()
            line = self._line = Line(self._urls[0], CLIENT_AND_BROKER, FROM_BROKER)
            greeting = Hello(version=PROTOCOL_VERSION, token=self._token, name=self._name)
            patience_s = GREET_S if len(self._urls) > 1 else self._timeout_s
            welcome = line.greet(greeting, Welcome, min(patience_s, max(0.0, deadline - time.monotonic())))
            self.tenant, self.broker = welcome.tenant, welcome.broker
        return line.ask(question, timeout_s=max(0.0, deadline - time.monotonic()))[0]

    def _drop_line(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    def _unreachable(self, error: GpupoolError) -> PoolUnreachable:
        whys = []
        for url in self.url.split(","):
            unresolvable = why_unresolvable(url)
            why = f"its host name means nothing here: {unresolvable}" if unresolvable else str(self._why.get(url, error))
            whys.append(f"{url} ({why})")
        return PoolUnreachable(
            f"no broker answers at {', nor at '.join(whys)}: start a pool on this machine with `gpupool up`, "
            "or set GPUPOOL_URL to the address of yours",
            url=self.url,
        )
