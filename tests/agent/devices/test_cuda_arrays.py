"""Arrays on a CUDA device over a stand-in for CuPy: they stay there, models are fed from them, time is the driver's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpupool_agent.array_operation import Arguments, perform
from gpupool_agent.array_store import ArrayStore
from gpupool_agent.devices.base import Account
from gpupool_agent.devices.cuda import CudaDevice
from gpupool_wire.errors import UsageError

X = np.arange(4, dtype=np.float32)


@pytest.fixture
def store(cuda_device: CudaDevice, account: Account) -> ArrayStore:
    return ArrayStore(account, cuda_device.library)


def made(store: ArrayStore, name: str, *args: Any, **options: Any) -> Any:
    ((array, charge),) = perform(store, name, Arguments(list(args), options), 1)
    if charge is not None:
        store.account.give(charge)
    return array


def test_operations_go_by_the_librarys_own_names(store: ArrayStore, driver: Any) -> None:
    x = store.library.from_host(X / 4)
    result = made(store, "pow", made(store, "acos", x), 2)
    assert np.allclose(store.library.to_host(result), np.arccos(X / 4) ** 2)
    assert (driver.uploads, driver.downloads) == (1, 1)


def test_an_operation_the_library_lacks_is_refused_by_name(store: ArrayStore) -> None:
    with pytest.raises(UsageError, match="has no unique_all: compute it on the host"):
        made(store, "unique_all", store.library.from_host(X))


def test_a_model_is_fed_from_the_device_and_leaves_its_output_there(
    cuda_device: CudaDevice, driver: Any, opened: Callable[..., Any], adding: Callable[[int], bytes]
) -> None:
    program = opened(cuda_device, adding(0))
    x = cuda_device.library.from_host(X)
    copies = driver.copies
    execution = cuda_device.run(program, {"x": x}, None, {}, held=["x"], keep=["y"])
    (y,) = execution.values
    assert isinstance(y, cuda_device.library.xp.ndarray)
    assert driver.copies == copies + 1  # the output, on the device; the input was bound where it is
    assert cuda_device.library.to_host(y).tolist() == [1, 2, 3, 4]
    (again,) = cuda_device.run(program, {"x": y}, None, {}, held=["x"]).values
    assert again.tolist() == [2, 3, 4, 5]
    cuda_device.close(program)


def test_array_work_takes_the_drivers_time(cuda_device: CudaDevice, driver: Any) -> None:
    def work() -> None:
        driver.now_ns += 12_345

    assert cuda_device.timed(work) == 12_345
