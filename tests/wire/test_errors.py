"""Errors travel as code, message and details, and come back as the class they were."""

from __future__ import annotations

import pytest

from gpupool_wire import errors
from gpupool_wire.errors import ErrorInfo, GpupoolError, from_info


def leaves(kind: type[GpupoolError] = GpupoolError) -> list[type[GpupoolError]]:
    """What crosses the wire: rooms may have subclasses of their own, which stay there."""
    below = [leaf for child in kind.__subclasses__() for leaf in ([child, *leaves(child)])]
    return [leaf for leaf in below if leaf.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", [kind for kind in leaves() if kind is not errors.ProtocolError])
def test_every_error_comes_back_as_itself_or_mirrored(kind: type[GpupoolError]) -> None:
    arrived = from_info(kind("it broke", asked=3).to_info())
    mirrored = {errors.LocalProtocolError: errors.RemoteProtocolError, errors.RemoteProtocolError: errors.LocalProtocolError}
    assert type(arrived) is mirrored.get(kind, kind)
    assert (arrived.message, arrived.details) == ("it broke", {"asked": 3})


def test_every_error_stands_in_the_tree_of_the_docstring() -> None:
    assert [kind.__name__ for kind in leaves() if kind.__name__ not in (errors.__doc__ or "")] == []


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in leaves() if kind is not errors.ProtocolError]
    assert len(codes) == len(set(codes))


def test_an_unknown_code_becomes_a_fault_that_keeps_it() -> None:
    arrived = from_info(ErrorInfo(code="from_the_future", message="?", details={"a": 1}))
    assert type(arrived) is errors.RemoteFault
    assert arrived.details == {"a": 1, "code": "from_the_future"}


def test_the_docstring_is_the_message_where_none_is_given() -> None:
    assert str(errors.LeaseLost()) == "The slice was released, has expired or was taken back."


def test_a_long_text_is_cut_so_that_a_peer_cannot_fill_a_log() -> None:
    assert len(errors.RemoteFault("x" * 100_000).to_info().message) == errors.MAX_MESSAGE_CHARS
