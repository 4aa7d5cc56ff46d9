"""Tensors that were sent before are recognised, and only those."""

from __future__ import annotations

import numpy as np
import pytest

from gpupool_wire.coding.seen import MIN_SEEN_BYTES, Seen, digest_of


def tensor(number: int, size: int = MIN_SEEN_BYTES // 4) -> np.ndarray:
    return np.random.default_rng(number).standard_normal(size).astype(np.float32)


def test_a_tensor_is_sent_twice_and_named_from_the_third_time_on() -> None:
    seen = Seen()
    looks = [seen.look(tensor(1)) for _ in range(4)]
    digest = digest_of(tensor(1))
    assert looks == [(b"", False), (digest, False), (digest, True), (digest, True)]


def test_new_tensors_are_not_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen()
    monkeypatch.setattr("gpupool_wire.coding.seen.digest_of", lambda _: pytest.fail("it was hashed"))
    for number in range(20):
        assert seen.look(tensor(number)) == (b"", False)


def test_one_bit_more_is_another_tensor() -> None:
    seen, array = Seen(), tensor(1)
    for _ in range(3):
        seen.look(array)
    other = array.copy()
    other.view(np.uint8)[-1] ^= 1
    digest, is_kept = seen.look(other)
    assert not is_kept
    assert digest in (b"", digest_of(other))
    assert seen.look(array) == (digest_of(array), True)


def test_the_digest_is_of_dtype_and_shape_too() -> None:
    array = np.zeros(64, np.float32)
    digests = {digest_of(array), digest_of(array.view(np.int32)), digest_of(array.reshape(8, 8)), digest_of(array[:32])}
    assert len(digests) == 4


def test_one_that_the_worker_did_not_keep_is_not_named_again() -> None:
    seen = Seen()
    for _ in range(3):
        digest, _ = seen.look(tensor(1))
    seen.missing(digest)
    assert seen.look(tensor(1)) == (b"", False)


@pytest.mark.parametrize("array", [tensor(1, 8), tensor(1)[::2], np.array(["a"] * 20_000, object)])
def test_small_odd_and_text_tensors_are_left_alone(array: np.ndarray) -> None:
    seen = Seen()
    assert [seen.look(array) for _ in range(3)] == [(b"", False)] * 3
