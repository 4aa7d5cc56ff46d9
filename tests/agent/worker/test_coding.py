"""Coded tensors at a real worker: the same results, and bad ones are refused while it lives on."""

from __future__ import annotations

import itertools
import random
from typing import Any

import msgspec
import numpy as np
import pytest
import zstandard

from gpupool_wire import messages as m
from gpupool_wire.coding import Coder
from gpupool_wire.coding.seen import digest_of
from gpupool_wire.errors import LocalProtocolError, OutOfSliceMemory, TensorMissing, from_info
from gpupool_wire.operands import Sent
from gpupool_wire.tensors import SeenSpec, TensorSpec, unpack_values

SLOW_LINK = 1_000_000
PIXELS = np.resize(np.arange(200, dtype=np.float32) / np.float32(127.5) - np.float32(1), 60_000)


def run_coded(
    client: Any, session_id: int, spec: TensorSpec | SeenSpec, frames: list[Any], *, speed: int = 0
) -> tuple[m.Result, list[Any]]:
    run = m.Run(call_id=next(client._ids), session_id=session_id, feed=[("x", spec)], link_bytes_per_s=speed)
    client.send(run, frames)
    answer, received = client.receive()
    if isinstance(answer, m.Failed):
        raise from_info(answer.error)
    assert isinstance(answer, m.Result)
    return answer, unpack_values(answer.outputs, received)


def coded(array: np.ndarray) -> tuple[TensorSpec, list[bytes]]:
    spec, frames = Coder(itertools.count(step=1000).__next__).pack(array, SLOW_LINK)
    assert spec.coding != "raw"
    return spec, [bytes(frame) for frame in frames]


@pytest.fixture
def session_id(client: Any, models: Any) -> int:
    opened: int = client.open(models.doubling()).session_id
    return opened


def test_coded_inputs_give_the_same_results(client: Any, session_id: int) -> None:
    answer, (y,) = run_coded(client, session_id, *coded(PIXELS))
    assert np.array_equal(y, PIXELS + PIXELS)
    assert answer.outputs[0].coding == "raw"  # type: ignore[union-attr]
    assert answer.timing.coding_ns > 0


def test_results_come_coded_where_the_callers_link_is_slow(client: Any, session_id: int) -> None:
    answer, (y,) = run_coded(client, session_id, *coded(PIXELS), speed=SLOW_LINK)
    (spec,) = answer.outputs
    assert isinstance(spec, TensorSpec)
    assert spec.coding.startswith("palette")
    assert spec.nbytes < PIXELS.nbytes / 3
    assert np.array_equal(y, PIXELS + PIXELS)


def test_results_come_raw_where_it_is_fast(client: Any, session_id: int) -> None:
    answer, _ = run_coded(client, session_id, *coded(PIXELS), speed=10**13)
    assert answer.outputs[0].coding == "raw"  # type: ignore[union-attr]


def test_an_unknown_coding_is_refused(client: Any, session_id: int) -> None:
    with pytest.raises(LocalProtocolError, match="lzma"):
        run_coded(client, session_id, TensorSpec("float32", (5,), 1, 20, "lzma"), [bytes(20)])


@pytest.mark.parametrize("gib", [1, 3])
def test_a_bomb_is_refused_before_it_is_made(client: Any, session_id: int, gib: int) -> None:
    """Zeros in a few kilobytes, more of them than the slice may hold."""
    nbytes = gib << 30
    packed = zstandard.ZstdCompressor(level=1).compressobj(size=nbytes)
    block = bytes(1 << 24)
    bomb = b"".join([packed.compress(block) for _ in range(nbytes // len(block))] + [packed.flush()])
    with pytest.raises(OutOfSliceMemory):
        run_coded(client, session_id, TensorSpec("float32", (nbytes // 4,), 1, len(bomb), "zstd"), [bomb])
    run_coded(client, session_id, *coded(PIXELS))


def test_a_tensor_is_kept_and_named_by_its_digest(client: Any, session_id: int) -> None:
    spec, frames = coded(PIXELS)
    digest = digest_of(PIXELS)
    run_coded(client, session_id, msgspec.structs.replace(spec, digest=digest), frames)
    before = client.usage().memory_used_bytes
    for _ in range(3):
        _, (y,) = run_coded(client, session_id, SeenSpec(digest, "float32", PIXELS.shape), [])
        assert np.array_equal(y, PIXELS + PIXELS)
    assert client.usage().memory_used_bytes == before >= PIXELS.nbytes


@pytest.mark.parametrize(
    ("digest", "dtype", "shape"),
    [
        (bytes(32), "float32", PIXELS.shape),
        (digest_of(PIXELS), "int32", PIXELS.shape),
        (digest_of(PIXELS), "float32", (PIXELS.size, 1)),
    ],
)
def test_a_tensor_that_was_not_kept_is_asked_for(
    client: Any, session_id: int, digest: bytes, dtype: str, shape: tuple[int, ...]
) -> None:
    spec, frames = coded(PIXELS)
    run_coded(client, session_id, msgspec.structs.replace(spec, digest=digest_of(PIXELS)), frames)
    with pytest.raises(TensorMissing):
        run_coded(client, session_id, SeenSpec(digest, dtype, shape), [])


def test_a_tensor_under_anothers_digest_is_refused(client: Any, session_id: int) -> None:
    spec, frames = coded(PIXELS)
    with pytest.raises(LocalProtocolError, match="digest"):
        run_coded(client, session_id, msgspec.structs.replace(spec, digest=digest_of(PIXELS + 1)), frames)


def test_a_bomb_among_operands_is_refused_before_it_is_made(client: Any) -> None:
    nbytes = 1 << 30
    bomb = zstandard.ZstdCompressor(level=1).compress(bytes(nbytes))
    sent = Sent(TensorSpec("uint8", (nbytes,), 1, len(bomb), "zstd"))
    made = m.OperationCall(name="asarray", args=[sent], results=[1])
    with pytest.raises(OutOfSliceMemory, match="coded operands"):
        client.expect(m.Operated, m.Operate(call_id=1, operations=[made]), [bomb])


def test_arrays_come_coded_where_the_callers_link_is_slow(client: Any) -> None:
    spec, frames = coded(PIXELS)
    made = m.OperationCall(name="asarray", args=[Sent(spec)], results=[1])
    client.send(m.Operate(call_id=1, operations=[made], fetch=[1], link_bytes_per_s=SLOW_LINK), frames)
    answer, received = client.receive()
    assert isinstance(answer, m.Operated)
    (fetched,) = answer.values
    assert isinstance(fetched, TensorSpec)
    assert fetched.coding.startswith("palette")
    (array,) = unpack_values([fetched], received)
    assert array.tobytes() == PIXELS.tobytes()
    assert answer.timing.coding_ns > 0


def test_damaged_tensors_are_refused_and_the_worker_lives_on(client: Any, session_id: int) -> None:
    spec, frames = coded(PIXELS)
    chance = random.Random(7)
    refused = 0
    for _ in range(200):
        damaged = [bytearray(frame) for frame in frames]
        for _ in range(chance.randint(1, 5)):
            frame = chance.choice(damaged)
            if chance.random() < 0.3:
                del frame[chance.randrange(len(frame)) :]
                frame += b"\0"
            else:
                frame[chance.randrange(min(len(frame), chance.choice([20, len(frame)])))] = chance.randrange(256)
        lying = TensorSpec(
            "float32", spec.shape, len(damaged), sum(map(len, damaged)), chance.choice([spec.coding, "palette", "zstd"])
        )
        try:
            run_coded(client, session_id, lying, [bytes(frame) for frame in damaged])
        except LocalProtocolError:
            refused += 1
    assert refused > 50
    _, (y,) = run_coded(client, session_id, spec, frames)
    assert np.array_equal(y, PIXELS + PIXELS)
    assert client.usage().memory_used_bytes < 2 << 20  # at most what other tests had kept
