from __future__ import annotations

import numpy as np
import pytest

from gpupool_agent.array_batch import Batch
from gpupool_agent.array_store import ArrayStore
from gpupool_agent.devices.base import Account
from gpupool_agent.devices.library import numpy_library
from gpupool_wire.messages import Operate, OperationCall
from gpupool_wire.operands import Held, Many, Operand, Span
from gpupool_wire.units import MIB

WHOLE, STRIDED, MASK = 1, 2, 3
LARGE = np.zeros((1000, 1000), np.float32)


@pytest.fixture
def store() -> ArrayStore:
    store = ArrayStore(Account(64 * MIB), numpy_library())
    store.put(WHOLE, LARGE)
    store.put(STRIDED, np.zeros((1000, 1000), np.float32).T)
    store.put(MASK, np.zeros((1000, 1000), np.bool_))
    return store


@pytest.mark.parametrize(
    ("name", "args", "nbytes"),
    [
        ("getitem", [Held(WHOLE), Span(None, None, 2)], 0),
        ("reshape", [Held(WHOLE), Many([-1])], 0),
        ("reshape", [Held(STRIDED), Many([-1])], LARGE.nbytes),
        ("getitem", [Held(WHOLE), Held(MASK)], LARGE.nbytes + LARGE.size),
        ("negative", [Held(WHOLE)], LARGE.nbytes),
        ("negative", [Held(99)], 0),
    ],
    ids=["a view", "another", "perhaps a copy", "a gathering", "work", "nothing that is held"],
)
def test_views_are_little_work_however_large(store: ArrayStore, name: str, args: list[Operand], nbytes: int) -> None:
    call = OperationCall(name=name, args=args, options={}, results=[10], drops=[])
    batch = Batch(Operate(call_id=1, operations=[call]), [], store)
    assert batch.operand_bytes() == nbytes
