"""One NVIDIA GPU: ONNX Runtime's CUDA provider, every device allocation of it counted in the slice's ledger.

    ORT ──gpu_external_alloc──> DeviceMemory ──take──> Account        (refused: null, ORT fails the call, it becomes
                                     └──malloc──> pool (bounded) ──> cudaMalloc        OutOfSliceMemory with the numbers)
    run: events around [inputs to the device · kernels · outputs to the host] on one stream = device time

ONNX Runtime takes either an external allocator or a compute stream of ours, not both (its provider enforces that). The allocator
is what makes memory exact and resizable, so that is what it gets; with one, the provider runs everything on the legacy default
stream, which is therefore the worker's one stream: events on it bracket a call, and memory the pool takes back is reused in
stream order. Calls are serialized: two on one stream would only wait for each other, and could not be told apart by events.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort

from gpupool_agent.core.ledger import Charge, Purpose
from gpupool_agent.devices.base import Account, Device, Execution, Program, Surface
from gpupool_agent.devices.cuda_driver import CupyDriver, Driver
from gpupool_agent.devices.cupy_library import CupyLibrary
from gpupool_agent.devices.library import ArrayLibrary
from gpupool_agent.runtime import chosen_providers, describe, metadata, run_options, session_options, silence, translation
from gpupool_wire.errors import ExecutionFailed, ModelRejected, OutOfSliceMemory, UsageError
from gpupool_wire.messages import ModelOptions, TensorInfo
from gpupool_wire.tensors import Array, Value

_log = logging.getLogger(__name__)

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
#: The pool rounds to this (CuPy's allocation unit), so this is what is charged.
ROUNDED_BYTES = 512
#: Element types whose tensors are bound by address; all others go through ONNX Runtime's own copies.
_BOUND = {
    f"tensor({name})": np.dtype(dtype)
    for name, dtype in (
        ("float", "float32"),
        ("double", "float64"),
        ("float16", "float16"),
        ("int8", "int8"),
        ("int16", "int16"),
        ("int32", "int32"),
        ("int64", "int64"),
        ("uint8", "uint8"),
        ("uint16", "uint16"),
        ("uint32", "uint32"),
        ("uint64", "uint64"),
        ("bool", "bool"),
    )
}
_ALLOC = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t)
_FREE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_EMPTY = ctypes.CFUNCTYPE(None)

SessionMaker = Callable[..., Any]


class DeviceMemory:
    """Device memory by address, each block charged to the account. ONNX Runtime calls it through C pointers, from any thread."""

    def __init__(self, account: Account, driver: Driver) -> None:
        self._account = account
        self._driver = driver
        self._lock = threading.RLock()  # reentrant for the same reason as the account's
        self._blocks: dict[int, tuple[Charge, Any]] = {}
        self._here = threading.local()
        # These keep the callbacks alive for as long as a session may call them.
        self._c_alloc, self._c_free, self._c_empty = _ALLOC(self._alloc_c), _FREE(self.release), _EMPTY(driver.trim)

    def provider_options(self) -> dict[str, str]:
        """Return the addresses ONNX Runtime calls, as its CUDA provider takes them."""
        pointers = {"alloc": self._c_alloc, "free": self._c_free, "empty_cache": self._c_empty}
        return {f"gpu_external_{name}": str(ctypes.cast(pointer, ctypes.c_void_p).value) for name, pointer in pointers.items()}

    @contextmanager
    def used_for(self, purpose: Purpose, name: str) -> Iterator[None]:
        """Say what this thread's allocations are for."""
        self._here.purpose, self._here.name, self._here.refusal = purpose, name, None
        try:
            yield
        finally:
            # The refusal goes, too: its traceback refers to the session, which would never be freed.
            self._here.purpose, self._here.name, self._here.refusal = Purpose.ACTIVATIONS, "a session", None

    @property
    def refusal(self) -> OutOfSliceMemory | None:
        """The refusal this thread met inside `used_for`."""
        return getattr(self._here, "refusal", None)

    def allocate(self, nbytes: int) -> int:
        """Return the address of a new block; raise OutOfSliceMemory."""
        rounded = -(-max(nbytes, 1) // ROUNDED_BYTES) * ROUNDED_BYTES
        purpose = getattr(self._here, "purpose", Purpose.ACTIVATIONS)
        charge = self._account.take(rounded, purpose, getattr(self._here, "name", "a session"))
        try:
            address, keeper = self._driver.allocate(rounded)
        except MemoryError as error:
            self._account.give(charge)
            raise self._account.refusal(rounded, f"{charge.purpose} of {charge.name}") from error
        block = (charge, keeper)
        with self._lock:
            self._blocks[address] = block
        return address

    def release(self, address: int | None) -> None:
        """Give a block back; what this allocator does not know is left alone."""
        with self._lock:
            charge, keeper = self._blocks.pop(address or 0, (None, None))
        if charge is not None:
            del keeper  # back to the pool, which hands it out again in stream order
            self._account.give(charge)

    def _alloc_c(self, nbytes: int) -> int | None:
        try:
            return self.allocate(nbytes)
        except OutOfSliceMemory as error:
            self._here.refusal = error
        except Exception:  # noqa: BLE001 - an exception cannot cross into C; null makes ONNX Runtime fail this call
            _log.exception("device memory could not be allocated", extra={"action": "allocation_failed"})
        return None


class CudaDevice(Device):
    """One GPU."""

    kind: ClassVar[str] = "cuda"
    providers: ClassVar[tuple[str, ...]] = (CUDA, CPU)
    #: Parsing and optimizing happen on the host; the device only receives the weights.
    opens_in_quantum: ClassVar[bool] = False
    driver_counts: ClassVar[bool] = True
    parallel_calls: int = 1

    def __init__(
        self,
        account: Account,
        *,
        index: int,
        threads: int,
        driver: Driver | None = None,
        make_session: SessionMaker = ort.InferenceSession,
    ) -> None:
        super().__init__(account, index=index, threads=threads)
        silence()
        self._driver = driver or CupyDriver(index)
        self._make_session = make_session
        self.memory = DeviceMemory(account, self._driver)
        self._stream_lock = threading.Lock()
        self._warm_up()

    def _open(self, model: bytes, options: ModelOptions, name: str) -> Program:
        chosen = chosen_providers(options.providers, self.providers)
        providers = [(CUDA, self._provider_options()) if provider == CUDA else provider for provider in chosen]
        made = session_options(options, threads=self.threads)
        made.enable_cpu_mem_arena = False
        used_before = self.account.by_purpose()[Purpose.WEIGHTS]
        self._driver.use()
        with self.memory.used_for(Purpose.WEIGHTS, name):
            try:
                session = self._make_session(model, made, providers=providers)
            except Exception as error:
                raise translation(error, ModelRejected, lambda: self._refusal(f"opening {name}")) from error
        if hasattr(session, "disable_fallback"):
            session.disable_fallback()  # onnxruntime would otherwise go on without the GPU and say nothing
        if CUDA in chosen and CUDA not in session.get_providers():
            raise UsageError(
                "onnxruntime could not start its CUDA provider on this node: its log says which of CUDA's libraries is missing"
            )
        surface = Surface(
            inputs=describe(session.get_inputs()),
            outputs=describe(session.get_outputs()),
            initializers=describe(session.get_overridable_initializers()),
            meta=metadata(session),
            providers=session.get_providers(),
        )
        weights = self.account.by_purpose()[Purpose.WEIGHTS] - used_before
        return Program(name=name, surface=surface, handle=session, weight_bytes=max(0, weights))

    def _run(
        self,
        program: Program,
        feed: Mapping[str, Value],
        outputs: Sequence[str] | None,
        config: Mapping[str, str],
        keep: Collection[str],
    ) -> Execution:
        self._driver.use()
        with self._stream_lock, self.memory.used_for(Purpose.ACTIVATIONS, program.name):
            started = self._driver.mark()
            try:
                options = run_options(config)
                if _can_bind(program.surface, feed):
                    values = self._run_bound(program, feed, outputs, options, keep)
                else:
                    here = {name: self._fetched(value) for name, value in feed.items()}
                    values = program.handle.run(outputs, here, options)
                    if keep:
                        values = self._moved(_names(program, outputs), values, keep)
            except Exception as error:
                self._driver.trim()
                raise translation(error, ExecutionFailed, lambda: self._refusal(f"a call of {program.name}")) from error
            return Execution(values=values, device_ns=self._driver.elapsed_ns(started))

    def _fetched(self, value: Value) -> Value:
        """Return an input on the host."""
        return self.library.to_host(value) if self._is_held(value) else value

    def _moved(self, names: Sequence[str], values: list[Value], keep: Collection[str]) -> list[Value]:
        """Return outputs with those to be kept on the device."""
        return [self.library.from_host(value) if name in keep else value for name, value in zip(names, values, strict=True)]

    def _is_held(self, value: Value) -> bool:
        """Whether an input is an array of the device's library."""
        return self._arrays is not None and isinstance(value, self._arrays.xp.ndarray) and not isinstance(value, np.ndarray)

    def _library(self) -> ArrayLibrary:
        return CupyLibrary(self._driver)

    def timed(self, work: Callable[[], object]) -> int | None:
        """Do array work; return the device's time between two events around it."""
        self._driver.use()
        with self._stream_lock:
            started = self._driver.mark()
            work()
            return self._driver.elapsed_ns(started)

    def _run_bound(
        self,
        program: Program,
        feed: Mapping[str, Value],
        outputs: Sequence[str] | None,
        options: ort.RunOptions | None,
        keep: Collection[str],
    ) -> list[Value]:
        """Run with inputs and outputs on the device, in memory that is counted; copy to the host what is not to be kept."""
        session = program.handle
        binding = session.io_binding()
        addresses: list[int] = []
        try:
            held: list[Any] = []
            for name, array in feed.items():
                if self._is_held(array):
                    held.append(self.library.xp.ascontiguousarray(array))
                    address = self._driver.address_of(held[-1])
                    binding.bind_input(name, "cuda", self.index, array.dtype, list(array.shape), address)
                    continue
                addresses.append(self.memory.allocate(array.nbytes))
                contiguous = np.ascontiguousarray(array)
                self._driver.copy_in(addresses[-1], contiguous)
                binding.bind_input(name, "cuda", self.index, array.dtype, list(array.shape), addresses[-1])
            names = _names(program, outputs)
            for name in names:
                binding.bind_output(name, "cuda", self.index)
            session.run_with_iobinding(binding, options)
            if not keep:
                copied: list[Value] = list(binding.copy_outputs_to_cpu())
                return copied
            made = zip(names, binding.get_outputs(), strict=True)
            return [self._kept(program, name, value) if name in keep else value.numpy() for name, value in made]
        finally:
            binding.clear_binding_inputs()
            binding.clear_binding_outputs()
            for address in addresses:
                self.memory.release(address)

    def _kept(self, program: Program, name: str, value: ort.OrtValue) -> Any:  # noqa: ANN401 - an array of the library
        """Return an output as an array of the library: a copy on the device, as ONNX Runtime frees its own with the binding."""
        kind = next(info.type for info in program.surface.outputs if info.name == name)
        array = self.library.xp.empty(tuple(value.shape()), _BOUND[kind])
        self._driver.copy_within(self._driver.address_of(array), value.data_ptr(), array.nbytes)
        return array

    def _close(self, program: Program) -> None:
        self._driver.use()
        super()._close(program)  # ONNX Runtime frees the weights, which gives their charges back
        self._driver.trim()

    def _bound(self) -> None:
        self._driver.limit(self.account.limit_bytes)

    def _provider_options(self) -> dict[str, str]:
        return {
            "device_id": str(self.index),
            # An exhaustive search tries every algorithm with its workspace, counted against the slice, at every new shape.
            "cudnn_conv_algo_search": "HEURISTIC",
            "do_copy_in_default_stream": "1",
            **self.memory.provider_options(),
        }

    def _refusal(self, what: str) -> OutOfSliceMemory:
        """Return the refusal behind a failed call: our allocator's own, else one for what failed outside it."""
        return self.memory.refusal or self.account.refusal(0, f"{what} (in memory of CUDA's own libraries)")

    def _warm_up(self) -> None:
        """Load what every session needs (context, cuBLAS, cuDNN), and measure what of the device that takes."""
        before = self._driver.device_used_bytes()
        model = _warm_up_model()
        account, self.account = self.account, Account(2**40)  # the worker's own start is not on the slice
        self.memory = DeviceMemory(self.account, self._driver)
        try:
            program = self._open(model, ModelOptions(), "warm-up")
            self._run(program, {"x": np.ones((1, 1, 8, 8), np.float32)}, None, {}, ())
            self._close(program)
            del program
        finally:
            self._warm_memory = self.memory  # ONNX Runtime may keep its addresses for as long as the process lives
            self.account = account
            self.memory = DeviceMemory(account, self._driver)
        self._driver.trim()
        self.overhead_bytes = max(0, self._driver.device_used_bytes() - before)


def _can_bind(surface: Surface, feed: Mapping[str, Value]) -> bool:
    """Whether a call's inputs and outputs are all plain tensors of the declared types; ONNX Runtime says what is wrong if not."""
    known: dict[str, TensorInfo] = {info.name: info for info in [*surface.inputs, *surface.initializers]}
    return (
        len(feed) >= len(surface.inputs)
        and all(info.type in _BOUND for info in surface.outputs)
        and all(name in known and _matches(known[name], array) for name, array in feed.items())
        and all(info.name in feed for info in surface.inputs)
    )


def _names(program: Program, outputs: Sequence[str] | None) -> Sequence[str]:
    """Return the names of the outputs asked for."""
    return [info.name for info in program.surface.outputs] if outputs is None else outputs


def _matches(info: TensorInfo, array: Array | Value) -> bool:
    """Whether an array is what an input declares: bound by address, a wrong shape would be read beyond its end."""
    return (
        hasattr(array, "dtype")
        and not isinstance(array, np.generic)
        and _BOUND.get(info.type) == array.dtype
        and array.size > 0
        and len(info.shape) == array.ndim
        and all(not isinstance(dim, int) or dim == size for dim, size in zip(info.shape, array.shape, strict=True))
    )


def _warm_up_model() -> bytes:
    """Return a model with a convolution and a matrix product."""
    from onnx import TensorProto, helper, numpy_helper

    info = helper.make_tensor_value_info
    kernel = numpy_helper.from_array(np.ones((1, 1, 3, 3), np.float32), "kernel")
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("MatMul", ["c", "c"], ["y"]),
    ]
    shape = [1, 1, 8, 8]
    graph = helper.make_graph(
        nodes, "warm-up", [info("x", TensorProto.FLOAT, shape)], [info("y", TensorProto.FLOAT, shape)], [kernel]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())
