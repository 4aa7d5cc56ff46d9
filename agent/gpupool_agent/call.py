"""A request of a client on its way through the worker, and its reply."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpupool_agent.array_batch import Batch
from gpupool_agent.array_store import ArrayStore, Kept
from gpupool_agent.core.meetings import Likeness
from gpupool_agent.core.sessions import ChannelId, Link
from gpupool_agent.programs import SharedProgram
from gpupool_wire.arena import Arena
from gpupool_wire.errors import RemoteProtocolError
from gpupool_wire.messages import CloseSession, Message, OpenModel, Operate, PutModel, Run
from gpupool_wire.tensors import Buffer, HeldSpec, Value


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """One request of one channel."""

    channel_id: ChannelId
    link: Link
    message: OpenModel | PutModel | Run | Operate | CloseSession
    frames: list[Buffer]
    received_ns: int
    #: Where large frames of its reply may lie; the worker's own until that is sent.
    arena: Arena | None = None
    #: The program of a Run, and the one a CloseSession gives up.
    shared: SharedProgram | None = None
    #: The inputs of a Run, once its frames are unpacked, and the arrays among them that the device holds.
    feed: dict[str, Value] | None = None
    #: The arrays of its link, where it is about any, and those of its inputs among them.
    store: ArrayStore | None = None
    pinned: list[Kept] = field(default_factory=list)
    #: The operations of an Operate, once begun, and what they have taken so far (ns).
    batch: Batch | None = None
    queue_ns: int = 0
    throttle_ns: int = 0
    execute_ns: int = 0
    coding_ns: int = 0
    #: Main began with it and found that it needs a thread of its own after all.
    is_handed_on: bool = False
    #: It counts among the calls that wait for a turn.
    is_wanted: bool = False
    #: It is not executed as one with others: it cannot be, or that has failed.
    is_alone: bool = False
    #: What it has in common with calls that it may be executed with, once asked for, and the rows it has of each input.
    likeness: Likeness | None = None
    rows: int = 0

    @property
    def program(self) -> SharedProgram:
        """The program this call is about; raise RemoteProtocolError where it is about none."""
        if self.shared is None:
            raise RemoteProtocolError(f"{type(self.message).__name__} is not about an open model")
        return self.shared

    @property
    def arrays(self) -> ArrayStore:
        """The arrays of the call's link; raise RemoteProtocolError where it is about none."""
        if self.store is None:
            raise RemoteProtocolError(f"{type(self.message).__name__} is not about arrays on the device")
        return self.store

    @property
    def is_about_arrays(self) -> bool:
        """Whether it needs the arrays of its link."""
        message = self.message
        if isinstance(message, Run):
            return bool(message.keep) or any(isinstance(spec, HeldSpec) for _, spec in message.feed)
        return isinstance(message, Operate)


@dataclass(slots=True, kw_only=True, eq=False)
class Done:
    """A call and its reply. `opened` is the program of a session that main has yet to number."""

    call: Call
    reply: Message | None
    frames: list[Buffer] = field(default_factory=list)
    opened: SharedProgram | None = None
