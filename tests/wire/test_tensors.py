"""Tensors as frames: what is packed at one end is unpacked at the other, bit for bit."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gpupool_wire import tensors
from gpupool_wire.arena import room_for
from gpupool_wire.errors import LocalProtocolError, RemoteProtocolError
from gpupool_wire.limits import CHUNK_BYTES
from gpupool_wire.tensors import (
    NoneSpec,
    SequenceSpec,
    TensorSpec,
    pack_tensor,
    pack_value,
    pack_values,
    unpack_tensor,
    unpack_values,
)

DTYPES = st.sampled_from(
    [np.dtype(name) for name in ("bool", "int8", "uint16", "int32", "int64", "float16", "float32", "float64", "complex64")]
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
VALUES = st.one_of(ARRAYS, st.none(), st.lists(ARRAYS, max_size=3))


def through(value: object) -> object:
    specs, frames = pack_values([value])
    return unpack_values(specs, [bytes(frame) for frame in frames])[0]


def same(a: object, b: object) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a is None and b is None


@given(VALUES)
def test_every_value_comes_back_bit_for_bit(value: object) -> None:
    assert same(through(value), value)


@given(hnp.arrays(object, hnp.array_shapes(min_dims=0, max_side=4), elements=st.text(max_size=5)))
def test_texts_come_back_as_they_were(array: np.ndarray) -> None:
    assert through(array).tolist() == array.tolist()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "int4"])
def test_extended_types_keep_their_dtype(name: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(getattr(ml_dtypes, name))
    assert same(through(array), array)


def test_a_map_keeps_keys_and_values() -> None:
    assert through({3: 0.5, 9: 0.25}) == {3: 0.5, 9: 0.25}
    assert through([{"cat": 1.0}, {"dog": 0.5}]) == [{"cat": 1.0}, {"dog": 0.5}]


def test_a_contiguous_array_is_not_copied() -> None:
    array = np.arange(1200, dtype=np.float32).reshape(300, 4)
    _, frames = pack_value(array)
    assert np.shares_memory(np.frombuffer(frames[0], np.uint8), array)


@pytest.mark.parametrize("view", [lambda a: a.T, lambda a: a[::2], lambda a: a.astype(">f4"), lambda a: a[:, ::-1]])
def test_other_layouts_arrive_with_the_same_values(view: object) -> None:
    array = view(np.arange(12, dtype=np.float32).reshape(3, 4))  # type: ignore[operator]
    assert np.array_equal(through(array), array)


def test_a_large_tensor_travels_in_chunks_and_arrives_whole() -> None:
    array = np.arange(CHUNK_BYTES // 4 * 2 + 5, dtype=np.uint32)
    spec, frames = pack_value(array)
    assert [len(frame) for frame in frames] == [CHUNK_BYTES, CHUNK_BYTES, 20]
    assert isinstance(spec, TensorSpec)
    assert same(tensors.unpack_tensor(spec, frames), array)


def test_a_misaligned_frame_is_still_read() -> None:
    array = np.arange(5, dtype=np.float64)
    spec, frames = pack_value(array)
    shifted = memoryview(b"x" + bytes(frames[0]))[1:]
    assert same(tensors.unpack_tensor(spec, [shifted]), array)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("float32", (2, 3), 1, 23),
        TensorSpec("float32", (2, 4), 1, 24),
        TensorSpec("float32", (2, 3), 2, 24),
        TensorSpec("float32", (2**40, 2**40), 1, 24),
        TensorSpec("float32", (2, 3), 1, 24, "lzma"),
        TensorSpec("object", (6,), 1, 24),
        TensorSpec("V8", (3,), 1, 24),
        TensorSpec("string", (6,), 1, 24),
        TensorSpec("string", (2**40,), 1, 24),
    ],
)
def test_a_spec_that_does_not_fit_its_frames_is_a_remote_error(spec: TensorSpec) -> None:
    with pytest.raises(RemoteProtocolError):
        unpack_values([spec], [bytes(24)])


def test_missing_and_left_over_frames_are_remote_errors() -> None:
    specs, frames = pack_values([np.zeros(3), np.zeros(4)])
    with pytest.raises(RemoteProtocolError):
        unpack_values(specs, frames[:1])
    with pytest.raises(RemoteProtocolError, match="more frames"):
        unpack_values(specs, [*frames, b""])


@pytest.mark.parametrize("array", [np.zeros(2, "M8[s]"), np.zeros(2, [("a", "i4")]), np.zeros((1,) * 33, "i1")])
def test_what_has_no_wire_form_is_refused_before_it_is_sent(array: np.ndarray) -> None:
    with pytest.raises(LocalProtocolError):
        pack_value(array)


def test_a_sequence_of_sequences_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="sequence of sequences"):
        pack_value([[np.zeros(1)]])


def test_absent_values_inside_a_sequence_survive() -> None:
    spec, _ = pack_value([None, np.zeros(1)])
    assert isinstance(spec, SequenceSpec)
    assert isinstance(spec.items[0], NoneSpec)


def received(*payloads: bytes) -> list[memoryview]:
    """Frames as they arrive on a stream: those of one tensor side by side."""
    room = room_for([len(payload) for payload in payloads])
    for frame, payload in zip(room, payloads, strict=True):
        frame[:] = payload
    return room


def test_chunks_that_lie_side_by_side_are_not_gathered() -> None:
    array = np.arange(CHUNK_BYTES // 4 * 2 + 5, dtype=np.float32)
    spec, frames = pack_tensor(array)
    arrived = received(*map(bytes, frames))
    unpacked = unpack_tensor(spec, arrived)
    assert np.array_equal(unpacked, array)
    assert unpacked.ctypes.data == np.frombuffer(arrived[0], np.uint8).ctypes.data


@pytest.mark.parametrize("order", [[1, 0, 2], [0, 2, 1]])
def test_chunks_that_lie_otherwise_are(order: list[int]) -> None:
    array = np.arange(3 * CHUNK_BYTES, dtype=np.uint8)
    spec, _ = pack_tensor(array)
    arrived = received(*(bytes([number]) * CHUNK_BYTES for number in range(3)))
    unpacked = unpack_tensor(spec, [arrived[number] for number in order])
    assert unpacked[::CHUNK_BYTES].tolist() == order


def test_an_array_keeps_no_memory_but_its_own() -> None:
    """A tensor of just a chunk lies beside the next one, which may be dropped, and is charged for itself alone."""
    arrays = [np.full(CHUNK_BYTES, number, np.uint8) for number in (1, 2)]
    specs, frames = pack_values(arrays)
    arrived = received(*map(bytes, frames))
    for array, unpacked in zip(arrays, unpack_values(specs, arrived), strict=True):
        assert np.array_equal(unpacked, array)
        assert not np.shares_memory(unpacked, np.frombuffer(arrived[0], np.uint8))
        assert not np.shares_memory(unpacked, np.frombuffer(arrived[1], np.uint8))
