"""Pairs of ends without sockets, and strategies for every message."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st
from msgspec import inspect as mi

from gpupool_wire.codec import Inbox, encode
from gpupool_wire.conversation import Conversation, Speaker, Table
from gpupool_wire.messages import Message


class Pair:
    """Two ends of one conversation and the link between them: what one says, the other hears, through real frames."""

    def __init__(self, table: Table, at_host: Inbox[Message], at_caller: Inbox[Message]) -> None:
        self.caller = Conversation(table, Speaker.CALLER)
        self.host = Conversation(table, Speaker.HOST)
        self._inbox = {id(self.host): at_host, id(self.caller): at_caller}

    def say(self, speaker: Conversation, message: Message) -> Message:
        """Let one end speak; return what the other end decoded and accepted."""
        listener = self.host if speaker is self.caller else self.caller
        speaker.said(message)
        arrived, frames = self._inbox[id(listener)].decode(encode(message))
        assert not frames
        listener.heard(arrived)
        assert self.caller.state is self.host.state
        return arrived


@pytest.fixture
def pair() -> Callable[..., Pair]:
    return Pair


def every_message() -> list[type[Message]]:
    def below(kind: type[Message]) -> list[type[Message]]:
        return [leaf for child in kind.__subclasses__() for leaf in [child, *below(child)]]

    return below(Message)


@pytest.fixture(params=every_message(), ids=lambda kind: kind.__name__)
def message_kind(request: pytest.FixtureRequest) -> type[Message]:
    kind: type[Message] = request.param
    assert issubclass(kind, msgspec.Struct)
    return kind


def _strategy(kind: mi.Type) -> st.SearchStrategy[Any]:
    """Return values of a field's type, within its limits."""
    match kind:
        case mi.IntType():
            return st.integers(-(2**31) if kind.ge is None else kind.ge, 2**31 if kind.le is None else kind.le)
        case mi.StrType() if kind.pattern:
            return st.from_regex(kind.pattern.replace("$", r"\Z"))
        case mi.StrType() | mi.BytesType():
            sizes = {"min_size": kind.min_length or 0, "max_size": min(kind.max_length or 64, 64)}
            return st.text(**sizes) if isinstance(kind, mi.StrType) else st.binary(**sizes)
        case mi.BoolType():
            return st.booleans()
        case mi.FloatType():
            return st.floats(allow_nan=False)
        case mi.NoneType():
            return st.none()
        case mi.EnumType():
            return st.sampled_from(list(kind.cls))
        case mi.ListType():
            return st.lists(_strategy(kind.item_type), max_size=2)
        case mi.VarTupleType():
            return st.lists(_strategy(kind.item_type), max_size=3).map(tuple)
        case mi.TupleType():
            return st.tuples(*map(_strategy, kind.item_types))
        case mi.DictType():
            return st.dictionaries(_strategy(kind.key_type), _strategy(kind.value_type), max_size=2)
        case mi.UnionType():
            return st.one_of(*map(_strategy, kind.types))
        case mi.StructType():
            return _structs(kind.cls)
    raise AssertionError(f"no strategy for {kind}")


@functools.cache
def _structs(cls: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Return structs of a class. Looked into only when one is drawn, since an operand may hold operands."""
    info = mi.type_info(cls)
    assert isinstance(info, mi.StructType)
    return st.deferred(lambda: st.fixed_dictionaries({field.name: _strategy(field.type) for field in info.fields})).map(
        lambda fields: cls(**fields)
    )


@pytest.fixture
def messages_of_kind(message_kind: type[Message]) -> st.SearchStrategy[Message]:
    return _strategy(mi.type_info(message_kind))
