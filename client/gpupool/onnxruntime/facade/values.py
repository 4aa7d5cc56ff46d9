"""OrtValue, OrtDevice and the vector of values, on this host's memory, for hosts without the wheel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpupool.onnxruntime.facade.enums import OrtDeviceVendorId
from gpupool.onnxruntime.tensor_types import ELEMENTS, dtype_of_element, type_name

Array = NDArray[Any]
_DEVICE_TYPES = {"cpu": 0, "cuda": 1, "gpu": 1, "dml": 4, "cann": 3, "webgpu": 1, "npu": 3}


class OrtDevice:
    """A kind of device and a number."""

    def __init__(self, device_type: int, device_id: int, vendor_id: int = 0) -> None:
        self._type, self._id, self._vendor = device_type, device_id, vendor_id

    @staticmethod
    def make(ort_device_name: str, device_id: int, vendor_id: int | OrtDeviceVendorId = -1) -> OrtDevice:
        """Return the device of that name and number."""
        if ort_device_name not in _DEVICE_TYPES:
            raise Exception("Unsupported device type: " + ort_device_name)  # noqa: TRY002 - the wheel raises just this
        return OrtDevice(_DEVICE_TYPES[ort_device_name], device_id, max(int(vendor_id), 0))

    def device_id(self) -> int:
        """Its number."""
        return self._id

    def device_type(self) -> int:
        """Its kind, by number."""
        return self._type

    def device_vendor_id(self) -> int:
        """Its vendor, by number."""
        return self._vendor

    def device_mem_type(self) -> int:
        """The kind of its memory: the default one."""
        return 0


def _host_only(device_type: str) -> None:
    if device_type.lower() != "cpu":
        raise RuntimeError(
            f"an OrtValue on {device_type!r} cannot be made here: this host has no such device, and a slice's memory is reached "
            "through its sessions only; make it on 'cpu'"
        )


class OrtValue:
    """A tensor on this host, shared with the array it was made from."""

    def __init__(self, array: Array) -> None:
        self._array = array

    @classmethod
    def ortvalue_from_numpy(
        cls, numpy_obj: Array, /, device_type: str = "cpu", device_id: int = 0, vendor_id: int = -1
    ) -> OrtValue:
        """Return a value that shares the array's memory."""
        _host_only(device_type)
        if numpy_obj.dtype.kind in "OUS":
            raise RuntimeError("Creation of OrtValues is currently only supported from non-string numpy arrays")
        return cls(numpy_obj)

    @classmethod
    def ortvalue_from_numpy_with_onnx_type(cls, data: Array, /, onnx_element_type: int) -> OrtValue:
        """Return a value that reads the array as another element type of the same size."""
        return cls(data.view(dtype_of_element(onnx_element_type)))

    @classmethod
    def ortvalue_from_shape_and_type(
        cls,
        shape: Sequence[int],
        element_type: DTypeLike | int,
        device_type: str = "cpu",
        device_id: int = 0,
        vendor_id: int = -1,
        memory_info: object = None,
    ) -> OrtValue:
        """Return a new value of that shape; its content is arbitrary."""
        _host_only(device_type)
        dtype = dtype_of_element(element_type) if isinstance(element_type, int) else np.dtype(element_type)
        return cls(np.empty(tuple(shape), dtype))

    @classmethod
    def ort_value_from_sparse_tensor(cls, sparse_tensor: object) -> OrtValue:
        """Refuse: sparse tensors cannot travel."""
        raise RuntimeError("OrtValue.ort_value_from_sparse_tensor cannot work on a remote slice: sparse tensors do not travel")

    def as_sparse_tensor(self) -> object:
        """Refuse: the value is dense."""
        raise RuntimeError("OrtValue.as_sparse_tensor: this value holds a dense tensor")

    @classmethod
    def from_dlpack(cls, data: Any, /) -> OrtValue:  # noqa: ANN401 - any object of the DLPack protocol
        """Return a value that shares the memory of another library's tensor on this host."""
        return cls(np.from_dlpack(data))

    def __dlpack__(self, *, stream: object = None) -> object:
        return self._array.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, number = self._array.__dlpack_device__()
        return int(kind), int(number)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        if copy:
            return np.array(self._array, dtype=dtype)
        return np.asarray(self._array, dtype=dtype)

    def numpy(self) -> Array:
        """Return the array."""
        return self._array

    def data_ptr(self) -> int:
        """Return the address of the first element."""
        return int(self._array.ctypes.data)

    def device_name(self) -> str:
        """Where it is: this host."""
        return "cpu"

    def shape(self) -> list[int]:
        """Return its shape."""
        return list(self._array.shape)

    def data_type(self) -> str:
        """Return its type as ONNX Runtime writes it."""
        return type_name(self._array.dtype)

    def element_type(self) -> int:
        """Return its TensorProto element type."""
        return ELEMENTS[self._array.dtype.name]

    def tensor_size_in_bytes(self) -> int:
        """Return its size."""
        return int(self._array.nbytes)

    def has_value(self) -> bool:
        """Whether an optional holds something: always, here."""
        return True

    def is_tensor(self) -> bool:
        """Whether it is a tensor: always, here."""
        return True

    def is_sparse_tensor(self) -> bool:
        """Whether it is a sparse tensor: never, here."""
        return False

    def is_tensor_sequence(self) -> bool:
        """Whether it is a sequence of tensors: never, here."""
        return False

    def update_inplace(self, data: Array | OrtValue) -> None:
        """Copy `data` over the content, without changing its address, shape or type."""
        source = data.numpy() if isinstance(data, OrtValue) else data
        if not isinstance(source, np.ndarray):
            raise TypeError("data must be a numpy.ndarray or an OrtValue.")
        if source.shape != self._array.shape or source.dtype != self._array.dtype:
            raise RuntimeError(
                f"an OrtValue of {self._array.dtype}{list(self._array.shape)} cannot take {source.dtype}{list(source.shape)}"
            )
        self._array[...] = source


def copy_tensors(src: Sequence[OrtValue], dst: Sequence[OrtValue], stream: object = None) -> None:
    """Copy each source over its destination."""
    if len(src) != len(dst):
        raise RuntimeError(f"{len(src)} sources and {len(dst)} destinations: there must be as many")
    for source, target in zip(src, dst, strict=True):
        target.update_inplace(source)
