from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpupool_wire.arena import ALIGNMENT, SHARED_FROM_BYTES, TRAVELS, Arena, check, place, room_for
from gpupool_wire.errors import RemoteProtocolError
from gpupool_wire.limits import CHUNK_BYTES

ROOM = 10 * SHARED_FROM_BYTES
EDGES = [SHARED_FROM_BYTES - 1, SHARED_FROM_BYTES, ROOM]
SIZES = st.lists(st.one_of(st.integers(0, 3 * SHARED_FROM_BYTES), st.sampled_from(EDGES)), min_size=1)


@given(sizes=SIZES, room=st.integers(0, ROOM))
def test_frames_lie_apart_inside_the_arena_and_the_other_end_takes_them(sizes: list[int], room: int) -> None:
    offsets = place(sizes, room)
    lying = [(offset, size) for offset, size in zip(offsets, sizes, strict=True) if offset != TRAVELS]
    taken = np.zeros(room, np.uint8)
    for offset, size in lying:
        assert offset % ALIGNMENT == 0
        assert size >= SHARED_FROM_BYTES
        taken[offset : offset + size] += 1
    assert sum(size for _, size in lying) == int(taken.sum())  # all of it inside, and no byte twice
    assert not taken.size or taken.max() <= 1
    check(lying, room)


def test_headers_and_small_frames_travel() -> None:
    assert place([SHARED_FROM_BYTES, SHARED_FROM_BYTES - 1, SHARED_FROM_BYTES], ROOM) == [TRAVELS, TRAVELS, 0]


@pytest.mark.parametrize(
    "regions",
    [
        [(0, ROOM + 1)],
        [(ROOM, 1)],
        [(2**32 - 1, 2**31 - 1)],
        [(0, 100), (99, 10)],
        [(200, 100), (0, 100)],
        [(0, 100), (0, 100)],
        [(0, 0)],
    ],
    ids=["too long", "behind the end", "far away", "overlapping", "backwards", "twice", "empty"],
)
def test_what_lies_about_its_place_is_refused(regions: list[tuple[int, int]]) -> None:
    with pytest.raises(RemoteProtocolError, match=rf"is said to lie at \d+ of shared memory; it may lie from \d+ to {ROOM}"):
        check(regions, ROOM)


def test_what_was_taken_is_nobody_elses() -> None:
    memory = bytearray(ROOM)
    ours, theirs = Arena(memory), Arena(memory)
    said, later = b"\1" * SHARED_FROM_BYTES, b"\2" * SHARED_FROM_BYTES
    _, lying = ours.hold([b"header", said])
    (room,) = room_for([len(said)])
    theirs.take(ours.offset_of(lying), room)
    ours.hold([b"header", later])
    assert bytes(room) == said
    assert bytes(lying) == later


def test_what_lies_in_the_arena_is_told_from_what_does_not() -> None:
    arena, other = Arena(bytearray(ROOM)), Arena(bytearray(ROOM))
    frames = [b"header", bytes(SHARED_FROM_BYTES), bytes(10), bytes(SHARED_FROM_BYTES + 1), bytes(ROOM)]
    held = arena.hold(frames)
    assert [arena.offset_of(frame) for frame in held] == [TRAVELS, 0, TRAVELS, SHARED_FROM_BYTES, TRAVELS]
    assert [other.offset_of(frame) for frame in held] == [TRAVELS] * 5
    assert held == frames


def test_chunks_of_a_tensor_lie_side_by_side() -> None:
    header, first, last, other = room_for([10, CHUNK_BYTES, 20, 30])
    assert first.obj is last.obj
    assert header.obj is not first.obj is not other.obj
    start = np.frombuffer(first, np.uint8).ctypes.data
    assert np.frombuffer(last, np.uint8).ctypes.data == start + CHUNK_BYTES
