"""Devices of every kind, the CUDA one over a driver and an onnxruntime that keep device memory in this process."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from gpupool_agent.core.model_scan import scan_model
from gpupool_agent.devices.base import Account, Device, Program
from gpupool_agent.devices.cpu import CpuDevice
from gpupool_agent.devices.cuda import CudaDevice
from gpupool_agent.devices.null import NullDevice
from gpupool_wire.messages import ModelOptions
from gpupool_wire.units import MIB

LIMIT_BYTES = 64 * MIB


class FakeDriver:
    """Device memory that is host memory, with a size; events that count a device's nanoseconds."""

    def __init__(self, size_bytes: int = 1024 * MIB) -> None:
        self.size_bytes = size_bytes
        self.limit_bytes = size_bytes
        self.blocks: dict[int, ctypes.Array[ctypes.c_char]] = {}
        self.now_ns = 0
        self.trims = 0
        self.copies = self.uploads = self.downloads = 0

    def use(self) -> None:
        pass

    @property
    def used_bytes(self) -> int:
        return sum(map(len, self.blocks.values()))

    def allocate(self, nbytes: int) -> tuple[int, Any]:
        if self.used_bytes + nbytes > min(self.limit_bytes, self.size_bytes):
            raise MemoryError(f"{nbytes} bytes")
        block = ctypes.create_string_buffer(nbytes)
        address = ctypes.addressof(block)
        self.blocks[address] = block
        return address, _Keeper(self, address)

    def copy_in(self, address: int, array: np.ndarray[Any, Any]) -> None:
        self.copies += 1
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def copy_within(self, target: int, source: int, nbytes: int) -> None:
        self.copies += 1
        ctypes.memmove(target, source, nbytes)

    def arrays(self) -> Any:
        return FakeCupy

    def upload(self, array: np.ndarray[Any, Any]) -> Any:
        self.uploads += 1
        return FakeCupy.asarray(array)

    def download(self, array: Any) -> np.ndarray[Any, Any]:
        self.downloads += 1
        return np.array(array.host)

    def address_of(self, array: Any) -> int:
        return int(array.host.ctypes.data)

    def mark(self) -> int:
        return self.now_ns

    def elapsed_ns(self, started: int) -> int:
        return self.now_ns - started

    def limit(self, nbytes: int) -> None:
        self.limit_bytes = nbytes

    def trim(self) -> None:
        self.trims += 1

    def device_used_bytes(self) -> int:
        return 300 * MIB + self.used_bytes if self.trims else 100 * MIB


class FakeArray:
    """An array that NumPy does not take for one of its own: what CuPy's arrays are to the device."""

    def __init__(self, host: np.ndarray[Any, Any], base: FakeArray | None = None) -> None:
        self.host, self.base = host, base

    shape = property(lambda self: self.host.shape)
    dtype = property(lambda self: self.host.dtype)
    nbytes = property(lambda self: self.host.nbytes)
    size = property(lambda self: self.host.size)
    ndim = property(lambda self: self.host.ndim)

    def copy(self) -> FakeArray:
        return FakeArray(self.host.copy())

    def __getitem__(self, key: Any) -> FakeArray:
        return FakeArray(self.host[key], self)


def _on_hosts(function: Callable[..., Any]) -> Callable[..., FakeArray]:
    def call(*args: Any, **options: Any) -> FakeArray:
        return FakeArray(np.asarray(function(*(item.host if isinstance(item, FakeArray) else item for item in args), **options)))

    return call


class FakeCupy:
    """The names that CuPy has, some of them old; `concat` and `acos` are not among them, nor is `unique_all`."""

    ndarray = FakeArray
    asarray = staticmethod(lambda value: value if isinstance(value, FakeArray) else FakeArray(np.array(value)))
    ascontiguousarray = staticmethod(lambda value: FakeArray(np.ascontiguousarray(value.host)))
    arccos, power, add, multiply, zeros, sum = map(
        staticmethod, map(_on_hosts, (np.arccos, np.power, np.add, np.multiply, np.zeros, np.sum))
    )
    empty = staticmethod(_on_hosts(np.empty))
    __name__ = "fake_cupy"


class _Keeper:
    """A block as the pool hands it out: given back when nobody refers to it any more."""

    def __init__(self, driver: FakeDriver, address: int) -> None:
        self._driver, self._address = driver, address

    def __del__(self) -> None:
        self._driver.blocks.pop(self._address, None)


class FakeSession:
    """An onnxruntime session with a CUDA provider: it computes on the CPU, and allocates through the addresses it was given."""

    driver: FakeDriver
    _session: Any = None
    _weights: int | None = None
    CALL_NS = 5_000_000
    SCRATCH_BYTES = MIB

    def __init__(self, model: bytes, options: Any, providers: Sequence[Any]) -> None:
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._providers = [provider if isinstance(provider, str) else provider[0] for provider in providers]
        cuda = next((dict(entry[1]) for entry in providers if not isinstance(entry, str)), None)
        if cuda is not None:
            self._alloc = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t)(int(cuda["gpu_external_alloc"]))
            self._free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(int(cuda["gpu_external_free"]))
            self._weights = self._allocate(max(1, scan_model(memoryview(model)).weight_bytes))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def __del__(self) -> None:
        if self._weights is not None:
            self._free(self._weights)

    def get_providers(self) -> list[str]:
        return self._providers

    def disable_fallback(self) -> None:
        pass

    def _allocate(self, nbytes: int) -> int:
        address = self._alloc(nbytes)
        if not address:
            raise ort.capi.onnxruntime_pybind11_state.RuntimeException("CUDAExternalAllocator::Alloc p != nullptr was false. ")
        return int(address)

    def run(self, outputs: Any, feed: Mapping[str, Any], options: Any = None) -> list[Any]:
        self.driver.now_ns += self.CALL_NS
        scratch = self._allocate(self.SCRATCH_BYTES)
        try:
            return list(self._session.run(outputs, feed, options))
        finally:
            self._free(scratch)

    def io_binding(self) -> FakeBinding:
        return FakeBinding()

    def run_with_iobinding(self, binding: FakeBinding, options: Any) -> None:
        values = self.run(binding.outputs, binding.inputs, options)
        held: list[int] = []
        try:
            held.extend(self._allocate(max(1, value.nbytes)) for value in values)
        finally:
            for address in held:
                self._free(address)
        binding.values = values


class FakeBinding:
    """Reads its inputs at the addresses it was given."""

    def __init__(self) -> None:
        self.inputs: dict[str, Any] = {}
        self.outputs: list[str] = []
        self.values: list[Any] = []

    def bind_input(self, name: str, kind: str, index: int, dtype: Any, shape: list[int], address: int) -> None:
        assert kind == "cuda"
        count = int(np.prod(shape, dtype=np.int64))
        raw = ctypes.string_at(address, count * np.dtype(dtype).itemsize)
        self.inputs[name] = np.frombuffer(raw, dtype).reshape(shape)

    def bind_output(self, name: str, kind: str, index: int) -> None:
        self.outputs.append(name)

    def get_outputs(self) -> list[Any]:
        return [ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value)) for value in self.values]

    def copy_outputs_to_cpu(self) -> list[Any]:
        return self.values

    def clear_binding_inputs(self) -> None:
        self.inputs = {}

    def clear_binding_outputs(self) -> None:
        self.outputs = []


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def account() -> Iterator[Account]:
    """The slice's account, empty again when the test is over."""
    account = Account(LIMIT_BYTES)
    yield account
    gc.collect()
    assert account.used_bytes == 0, account.by_purpose()


@pytest.fixture
def cuda_device(account: Account, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> Iterator[CudaDevice]:
    monkeypatch.setattr(FakeSession, "driver", driver, raising=False)
    device = CudaDevice(account, index=0, threads=1, driver=driver, make_session=FakeSession)
    yield device
    gc.collect()  # a session that an exception's frames still hold frees its memory through this device
    assert device.account is account


@pytest.fixture(params=["null", "cpu", "cuda"])
def device(request: pytest.FixtureRequest, account: Account) -> Device:
    """Each kind of device in turn."""
    if request.param == "cuda":
        device: Device = request.getfixturevalue("cuda_device")
    else:
        kind = {"null": NullDevice, "cpu": CpuDevice}[request.param]
        device = kind(account, index=0, threads=1)
    return device


def adding_model(weights_mib: int = 0) -> bytes:
    """y = x + w, a vector of so many MiB, or of one element."""
    info = helper.make_tensor_value_info
    weights = numpy_helper.from_array(np.ones(weights_mib * 1024 * 256 or 1, np.float32), "w")
    values = [info("x", TensorProto.FLOAT, ["n"])], [info("y", TensorProto.FLOAT, ["n"])]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "adding", *values, [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9, producer_name="gpupool-tests")
    return bytes(model.SerializeToString())


@pytest.fixture
def adding() -> Callable[[int], bytes]:
    return adding_model


@pytest.fixture
def opened() -> Callable[..., Program]:
    """Open a model on a device as the loader does."""

    def open_model(device: Device, model: bytes, options: ModelOptions | None = None) -> Program:
        return device.open(model, scan_model(memoryview(model)), options or ModelOptions(), "model 123")

    return open_model


@pytest.fixture
def make_model() -> Callable[..., bytes]:
    """Serialize a graph."""

    def make(graph: onnx.GraphProto) -> bytes:
        return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString())

    return make
