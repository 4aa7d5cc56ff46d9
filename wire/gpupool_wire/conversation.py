"""The state of one conversation, the same object for both ends.

Rules: all state and transitions live here; a conversation does not know which end it is, only who spoke. An illegal message
leaves the state as it was and raises: LocalProtocolError where we were about to say it, RemoteProtocolError where they said it.

    NEW ──greeting──> GREETED ──answer──> OPEN ──goodbye or fatal failure──> CLOSED

Which message does what is a table per kind of conversation; a message that a table does not name for the state is illegal.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from gpupool_wire import messages as m
from gpupool_wire.errors import LocalProtocolError, RemoteProtocolError


class State(Enum):
    """Where a conversation is."""

    # Every message is looked up by it, and Enum's own hash is Python. Members are singletons, so their identity will do.
    __hash__ = object.__hash__

    NEW = "new"
    GREETED = "greeted"
    OPEN = "open"
    CLOSED = "closed"


class Speaker(Enum):
    """Who said it: the side that greets, or the one that answers."""

    __hash__ = object.__hash__

    CALLER = "caller"
    HOST = "host"


Key = tuple[State, Speaker, type[m.Message]]
Table = Mapping[Key, State]


def _table(
    greeting: type[m.Message],
    welcome: type[m.Message],
    caller: tuple[type[m.Message], ...],
    host: tuple[type[m.Message], ...],
    goodbyes: tuple[tuple[Speaker, type[m.Message]], ...] = (),
) -> Table:
    """Return the table of a conversation: greeting, welcome, then what each side may say while it is open, and how it ends."""
    rows: dict[Key, State] = {
        (State.NEW, Speaker.CALLER, greeting): State.GREETED,
        (State.GREETED, Speaker.HOST, welcome): State.OPEN,
        (State.GREETED, Speaker.HOST, m.Failed): State.CLOSED,
        # Refused before the greeting was understood: wrong version, malformed, not greeted at all.
        (State.NEW, Speaker.HOST, m.Failed): State.CLOSED,
    }
    rows |= {(State.OPEN, Speaker.CALLER, kind): State.OPEN for kind in caller}
    rows |= {(State.OPEN, Speaker.HOST, kind): State.OPEN for kind in host}
    rows |= {(State.OPEN, speaker, kind): State.CLOSED for speaker, kind in goodbyes}
    return MappingProxyType(rows)


CLIENT_AND_BROKER = _table(
    m.Hello,
    m.Welcome,
    caller=(m.RequestSlice, m.CancelRequest, m.LocateSlice, m.ResizeSlice, m.ReleaseSlice, m.Ping),
    host=(m.SliceGranted, m.GangGranted, m.SliceResized, m.SliceReleased, m.Pong, m.Failed),
)
AGENT_AND_BROKER = _table(
    m.AgentHello,
    m.AgentWelcome,
    caller=(m.Beat, m.Shrunk),
    host=(m.Assign, m.Revoke, m.Shrink, m.BeatAnswer, m.Failed),
    goodbyes=((Speaker.CALLER, m.Bye),),
)
CLIENT_AND_DOOR = _table(m.OpenLink, m.LinkOpened, caller=(), host=())
CLIENT_AND_WORKER = _table(
    m.Join,
    m.Joined,
    caller=(m.OpenModel, m.PutModel, m.Run, m.Operate, m.CloseSession, m.AskUsage, m.Ping),
    host=(
        m.ModelMissing,
        m.ModelStored,
        m.SessionOpened,
        m.Result,
        m.Operated,
        m.SessionClosed,
        m.Usage,
        m.Pong,
        m.Probe,
        m.SliceNews,
        m.Failed,
    ),
    goodbyes=((Speaker.CALLER, m.Leave), (Speaker.HOST, m.LinkEnded)),
)


class Conversation:
    """One conversation as one end sees it. `said` and `heard` are the only doors to its state."""

    __slots__ = ("_here", "_table", "_there", "state")

    def __init__(self, table: Table, here: Speaker) -> None:
        self._table = table
        self._here = here
        self._there = Speaker.HOST if here is Speaker.CALLER else Speaker.CALLER
        self.state = State.NEW

    def __repr__(self) -> str:
        return f"<Conversation, {self._here.value}, {self.state.value}>"

    @property
    def is_open(self) -> bool:
        """Whether the greeting was answered and nobody has left."""
        return self.state is State.OPEN

    def said(self, message: m.Message) -> None:
        """Take note that this side says `message`; raise LocalProtocolError where it must not."""
        new = self._table.get((self.state, self._here, type(message)))
        if new is None:
            raise LocalProtocolError(self._illegal(message, self._here))
        self.state = new

    def heard(self, message: m.Message) -> None:
        """Take note that the other side said `message`; raise RemoteProtocolError where it must not.

        A greeting of another protocol version is refused with both versions named.
        """
        version = getattr(message, "version", m.PROTOCOL_VERSION)
        if version != m.PROTOCOL_VERSION:
            raise RemoteProtocolError(
                f"the peer speaks protocol version {version}, this side {m.PROTOCOL_VERSION}: update the older one",
                theirs=version,
                ours=m.PROTOCOL_VERSION,
            )
        new = self._table.get((self.state, self._there, type(message)))
        if new is None:
            raise RemoteProtocolError(self._illegal(message, self._there))
        self.state = new

    def _illegal(self, message: m.Message, speaker: Speaker) -> str:
        return f"{type(message).__name__} from the {speaker.value} does not belong in a conversation that is {self.state.value}"
