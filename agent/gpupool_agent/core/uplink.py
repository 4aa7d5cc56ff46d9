"""When the agent greets, beats, gives up waiting and dials again: its side of the broker link as a value.

Rules: no socket and no clock here; time is an argument (nanoseconds, monotonic). Methods return what to do.

    down ──step──> Dial, Greet ──welcomed──> up ──step every second──> SendBeat ──answered──> up
      ^                |                      |
      └── no answer ───┴──── silent 2.5 s ────┘          "greet again" (a new broker) goes straight to Greet

A refusal ends the agent only before its first welcome: a person is waiting there. Later it keeps asking, because work goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gpupool_wire.errors import ErrorInfo
from gpupool_wire.limits import AGENT_LOST_S, BEAT_S

BEAT_NS = int(BEAT_S * 1e9)
#: The broker gives up an agent after this silence; the agent gives up a broker after the same.
SILENCE_NS = int(AGENT_LOST_S * 1e9)
#: A greeting is answered within one turn; without an answer the dial is repeated.
GREETING_NS = 2_000_000_000
#: After a refusal there is no hurry.
REFUSED_NS = 5_000_000_000
#: Refusals that asking again does not change.
FINAL = frozenset({"not_authorized", "usage", "protocol_local", "protocol_remote"})


@dataclass(frozen=True, slots=True)
class Dial:
    """Drop the socket with whatever is queued in it and connect a fresh one."""


@dataclass(frozen=True, slots=True)
class Greet:
    """Say AgentHello, with the join token or with the credential."""

    with_join_token: bool


@dataclass(frozen=True, slots=True)
class SendBeat:
    """Say Beat with this number."""

    seq: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The broker will not have this agent: end, saying why."""

    error: ErrorInfo


Effect = Dial | Greet | SendBeat | GiveUp


class State(Enum):
    """Whether the broker knows this agent right now."""

    DOWN = "down"
    GREETING = "greeting"
    UP = "up"


class Uplink:
    """The agent's side of the broker link."""

    def __init__(self, *, has_credential: bool, has_join_token: bool) -> None:
        self.state = State.DOWN
        self.was_welcomed = False
        self._use_join_token = has_join_token and not has_credential
        self._has_join_token = has_join_token
        self._seq = 0
        #: When the next step is due: the next beat, or the next attempt.
        self._due_ns = 0
        self._heard_ns = 0

    def __repr__(self) -> str:
        return f"<Uplink, {self.state.value}, beat {self._seq}>"

    @property
    def is_up(self) -> bool:
        """Whether the broker has answered lately."""
        return self.state is State.UP

    def step(self, now_ns: int) -> list[Effect]:
        """Return what is due now. Handle what has arrived first: after a stall, answers may be waiting."""
        if self.state is State.UP and now_ns - self._heard_ns >= SILENCE_NS:
            self.state, self._due_ns = State.DOWN, now_ns
        if now_ns < self._due_ns:
            return []
        if self.state is State.UP:
            self._seq += 1
            # From now, not from the last due time: after a stall one beat is enough.
            self._due_ns = now_ns + BEAT_NS
            return [SendBeat(self._seq)]
        return [Dial(), self._greet(now_ns)]

    def next_due_ns(self) -> int:
        """Return when step has something to do."""
        return min(self._due_ns, self._heard_ns + SILENCE_NS) if self.is_up else self._due_ns

    def hurry(self, at_ns: int) -> None:
        """There will be something to report at that time: the next beat goes out then, if not before."""
        if self.state is State.UP:
            self._due_ns = min(self._due_ns, at_ns)

    def welcomed(self, now_ns: int) -> None:
        """The broker knows this agent; from now on the credential it gave is shown."""
        self.state = State.UP
        self.was_welcomed = True
        self._use_join_token = False
        self._heard_ns = now_ns
        self._due_ns = now_ns

    def heard(self, now_ns: int) -> None:
        """The broker said something."""
        self._heard_ns = now_ns

    def told_to_greet(self, now_ns: int) -> list[Effect]:
        """The broker does not know this connection (it has restarted): greet on the same socket."""
        return [self._greet(now_ns)]

    def refused(self, error: ErrorInfo, now_ns: int) -> list[Effect]:
        """The greeting was refused: try the join token, give up, or ask again later."""
        if error.code == "not_authorized" and self._has_join_token and not self._use_join_token:
            self._use_join_token = True
            return [self._greet(now_ns)]
        self.state = State.DOWN
        self._due_ns = now_ns + REFUSED_NS
        if error.code in FINAL and not self.was_welcomed:
            return [GiveUp(error)]
        # A token joins once; the next attempt shows the credential again.
        self._use_join_token = self._use_join_token and not self.was_welcomed
        return []

    def _greet(self, now_ns: int) -> Greet:
        self.state = State.GREETING
        self._due_ns = now_ns + GREETING_NS
        return Greet(self._use_join_token)
