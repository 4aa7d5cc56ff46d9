from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpupool_wire.arena import SHARED_FROM_BYTES, Arena
from gpupool_wire.errors import RemoteProtocolError
from gpupool_wire.limits import MAX_FRAME_BYTES, MAX_FRAMES
from gpupool_wire.stream import SCRATCH_BYTES, SHARED, Inflow, Outflow, laid_out, prefix_of

LARGE = 3 * SCRATCH_BYTES + 17


def bytes_of(outflow: Outflow, step: int) -> bytes:
    """All bytes of a message, taken `step` at a time at the most."""
    taken = bytearray()
    while not outflow.is_done:
        piece = b"".join(outflow.views())[:step]
        taken += piece
        outflow.sent(len(piece))
    return bytes(taken)


def read(inflow: Inflow, stream: bytes, step: int) -> list[list[bytes]]:
    """The messages of a stream that arrives `step` bytes at a time at the most."""
    messages: list[list[bytes]] = []
    while stream:
        room = inflow.room()[0]
        piece = stream[: min(step, len(room))]
        room[: len(piece)] = piece
        stream = stream[len(piece) :]
        messages += [list(map(bytes, frames)) for frames in inflow.took(len(piece))]
    return messages


@settings(deadline=None)  # a slow machine takes long over small pieces
@given(
    messages=st.lists(st.lists(st.sampled_from([0, 1, 63, 5000, SCRATCH_BYTES, LARGE]), min_size=1, max_size=5), max_size=4),
    out_step=st.integers(1000, 100_000),
    in_step=st.integers(500, 200_000),
)
def test_messages_arrive_as_they_were_however_the_stream_is_cut(messages: list[list[int]], out_step: int, in_step: int) -> None:
    said = [[bytes([len(frames)]) * size for size in frames] for frames in messages]
    stream = b"".join(bytes_of(Outflow(laid_out(frames)), out_step) for frames in said)
    assert read(Inflow(), stream, in_step) == said


@settings(deadline=None)
@given(
    sizes=st.lists(st.sampled_from([0, 1, 5000, SHARED_FROM_BYTES, LARGE]), min_size=1, max_size=6),
    room=st.sampled_from([0, SHARED_FROM_BYTES, 2 * LARGE, 10 * LARGE]),
    in_step=st.integers(5_000, 200_000),
)
def test_frames_that_lie_in_the_arena_arrive_among_those_that_travel(sizes: list[int], room: int, in_step: int) -> None:
    memory = bytearray(room or 1)
    inflow = Inflow(arena=Arena(memory))
    for turn in range(3):
        said = [bytes([turn * 10 + number]) * size for number, size in enumerate(sizes)]
        stream = bytes_of(Outflow(laid_out(said, Arena(memory))), 100_000)
        assert read(inflow, stream, in_step) == [said]


def test_large_frames_do_not_travel_where_there_is_an_arena() -> None:
    assert len(bytes_of(Outflow(laid_out([b"h", bytes(LARGE)], Arena(bytearray(LARGE)))), LARGE)) < 20


def test_frames_that_lie_in_the_arena_already_are_not_copied_again() -> None:
    memory = bytearray(2 * LARGE)
    arena = Arena(memory)
    held = arena.hold([b"h", bytes(LARGE)])
    memory[:LARGE] = b"\7" * LARGE
    assert read(Inflow(arena=Arena(memory)), bytes_of(Outflow(laid_out(held, arena)), LARGE), LARGE) == [[b"h", b"\7" * LARGE]]


def prefix(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}I", *words)


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (prefix(2, 1, SHARED | 100, LARGE - 99), "of 100 bytes is said to lie"),
        (prefix(2, SHARED | 100, SHARED | 100, 0, 50), "may lie from 100"),
        (prefix(1, SHARED | (MAX_FRAME_BYTES + 1), 0), f"largest frame {MAX_FRAME_BYTES + 1}"),
        (prefix(1, SHARED, 0), "of 0 bytes is said to lie"),
    ],
    ids=["past the end", "overlapping", "too large", "empty"],
)
def test_a_prefix_that_lies_about_the_arena_is_refused(stream: bytes, text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=text):
        read(Inflow(arena=Arena(bytearray(LARGE))), stream, SCRATCH_BYTES)


def test_without_an_arena_nothing_can_lie_in_it() -> None:
    with pytest.raises(RemoteProtocolError, match="largest frame"):
        read(Inflow(), prefix(1, SHARED | 100, 0), SCRATCH_BYTES)


def test_the_longest_prefix_fits() -> None:
    """All frames of the longest message may lie in the arena."""
    count = MAX_FRAMES
    stream = prefix(count, *[SHARED | 1] * count, *range(count))
    memory = bytes(number % 251 for number in range(count))
    (frames,) = read(Inflow(arena=Arena(bytearray(memory))), stream, 1000)
    assert b"".join(frames) == memory


def test_byte_by_byte() -> None:
    said = [[b"header", b"", b"payload"], [b"x"]]
    stream = b"".join(bytes_of(Outflow(laid_out(frames)), 1) for frames in said)
    assert read(Inflow(), stream, 1) == said


def test_frames_are_the_receivers_own() -> None:
    """Results are written to by their callers; the next message must not show in them."""
    inflow, frames = Inflow(), [b"h", bytes(LARGE)]
    stream = bytes_of(Outflow(laid_out(frames)), LARGE)
    room = inflow.room()[0]
    room[:] = stream[: len(room)]
    inflow.took(len(room))
    (rest,) = inflow.room()
    rest[:] = stream[-len(rest) :]
    ((_, large),) = inflow.took(len(rest))
    array = np.frombuffer(large, np.uint8)
    assert array.flags.writeable
    assert len(array) == LARGE
    read(inflow, bytes_of(Outflow(laid_out([b"\7" * 1000])), 2000), 2000)
    assert not array.any()


@pytest.mark.parametrize(
    ("prefix", "text"),
    [
        (bytes(4), "a message of 0 frames"),
        (prefix_of([b""] * (MAX_FRAMES + 1)), f"a message of {MAX_FRAMES + 1} frames"),
        ((1).to_bytes(4, "little") + (MAX_FRAME_BYTES + 1).to_bytes(4, "little"), f"largest frame {MAX_FRAME_BYTES + 1}"),
    ],
)
def test_what_is_past_the_limits_is_refused_before_it_is_read(prefix: bytes, text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=text):
        read(Inflow(), prefix, SCRATCH_BYTES)


def test_a_stranger_is_allowed_less() -> None:
    inflow = Inflow(limit_bytes=100)
    with pytest.raises(RemoteProtocolError, match=r"a message of 101 bytes.*limits are 100"):
        read(inflow, prefix_of([bytes(101)]), SCRATCH_BYTES)
    inflow = Inflow(limit_bytes=100)
    assert read(inflow, bytes_of(Outflow(laid_out([bytes(100)])), 200), 200) == [[bytes(100)]]
