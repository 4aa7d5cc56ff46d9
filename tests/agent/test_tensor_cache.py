"""The cache of tensors that are sent again: bounded, charged to the slice, and the first to go."""

from __future__ import annotations

import numpy as np
import pytest

from gpupool_agent.core.ledger import Purpose
from gpupool_agent.devices.base import Account
from gpupool_agent.tensor_cache import MAX_PART, TensorCache
from gpupool_wire.coding.seen import digest_of
from gpupool_wire.errors import RemoteProtocolError, TensorMissing
from gpupool_wire.tensors import SeenSpec
from gpupool_wire.units import MIB


def tensor(number: int, nbytes: int = MIB) -> np.ndarray:
    return np.full(nbytes, number, np.uint8)


def spec_of(array: np.ndarray) -> SeenSpec:
    return SeenSpec(digest_of(array), "uint8", array.shape)


def keep(cache: TensorCache, array: np.ndarray) -> None:
    cache.keep(digest_of(array), array)


@pytest.fixture
def account() -> Account:
    return Account(4 * MAX_PART * MIB)


@pytest.fixture
def cache(account: Account) -> TensorCache:
    return TensorCache(account)


def test_what_is_kept_is_found_and_charged_once(cache: TensorCache, account: Account) -> None:
    for _ in range(2):
        keep(cache, tensor(1))
    found = cache.find(spec_of(tensor(1)))
    assert found.tobytes() == tensor(1).tobytes()
    assert not found.flags.writeable
    assert account.used_bytes == MIB


def test_the_longest_unused_goes_where_the_cache_is_full(cache: TensorCache, account: Account) -> None:
    for number in range(4):
        keep(cache, tensor(number))
    cache.find(spec_of(tensor(0)))
    keep(cache, tensor(4))
    cache.find(spec_of(tensor(0)))
    with pytest.raises(TensorMissing):
        cache.find(spec_of(tensor(1)))
    assert account.used_bytes == 4 * MIB


def test_a_tensor_larger_than_the_cache_is_not_kept_and_drops_nothing(cache: TensorCache, account: Account) -> None:
    keep(cache, tensor(1))
    keep(cache, tensor(2, 5 * MIB))
    cache.find(spec_of(tensor(1)))
    assert account.used_bytes == MIB


def test_where_the_slice_is_full_nothing_is_kept(cache: TensorCache, account: Account) -> None:
    account.take(account.limit_bytes - 100, Purpose.WEIGHTS, "model")
    keep(cache, tensor(1))
    with pytest.raises(TensorMissing):
        cache.find(spec_of(tensor(1)))


def test_tensors_are_given_up_one_by_one_until_there_are_none(cache: TensorCache, account: Account) -> None:
    keep(cache, tensor(1))
    keep(cache, tensor(2))
    assert [cache.give_one() for _ in range(3)] == [True, True, False]
    assert account.used_bytes == 0


def test_a_digest_of_something_else_is_refused(cache: TensorCache, account: Account) -> None:
    with pytest.raises(RemoteProtocolError):
        cache.keep(digest_of(tensor(1)), tensor(2))
    with pytest.raises(RemoteProtocolError):
        cache.keep(bytes(32), np.array(["a"], object))
    assert account.used_bytes == 0
