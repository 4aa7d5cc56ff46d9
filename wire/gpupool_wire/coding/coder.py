"""Packs the tensors of one source (an input or output of a session), each in the way that is quickest on the link.

array ──Choice──> raw? views of it            (see gpupool_wire.tensors)
              └─> palette, zstd ──> (TensorSpec with its coding, [recipe,] body in chunks)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gpupool_wire.coding.choice import Choice, Method
from gpupool_wire.coding.compression import compress, shuffle
from gpupool_wire.coding.images import encode_images, encode_recipe
from gpupool_wire.coding.palette import Palette
from gpupool_wire.tensors import STRING, TensorSpec, chunks, name_of, pack_tensor

Array = NDArray[Any]

#: Smaller tensors take longer to look at than to send on any link worth the name.
MIN_CODED_BYTES: Final = 16_384
#: After a tensor that was no image, so many more are not looked at for it: 1, 2, 4, ... up to this.
MAX_REST: Final = 64
#: Compressed to more than this part, a tensor travels as it was.
_WORTHWHILE: Final = 0.97


class Coder:
    """Packs what comes from one source, and learns from it. Threads may share it: they lose each other's lessons at worst."""

    __slots__ = ("_choice", "_misses", "_now_ns", "_palettes", "_rest")

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._choice = Choice()
        self._palettes: list[Palette] = []
        self._misses = 0
        self._rest = 0

    def pack(self, array: Array, bytes_per_s: float) -> tuple[TensorSpec, list[memoryview]]:
        """Return spec and frames of an array for a link of that speed; 0 sends it raw.

        Raises LocalProtocolError for what cannot travel, as `pack_tensor` does.
        """
        if not bytes_per_s or array.nbytes < MIN_CODED_BYTES or name_of(array.dtype) == STRING:
            return pack_tensor(array)
        link_ns = 1e9 / bytes_per_s
        array = np.ascontiguousarray(array)
        if array.dtype.byteorder == ">":
            array = array.astype(array.dtype.newbyteorder("<"))
        methods = _methods(array)
        if Method.PALETTE in methods and not self._may_be_image():
            methods = methods[2:]
        while (method := self._choice.best(methods, link_ns)) is not Method.RAW:
            started_ns = self._now_ns()
            packed = self._palette(array, method) if method in _IMAGES else _compressed(array, method)
            if packed is not None:
                nbytes = packed[0].nbytes
                self._choice.measured(method, array.nbytes, nbytes, self._now_ns() - started_ns)
                return packed if nbytes < _WORTHWHILE * array.nbytes else pack_tensor(array)
            methods = methods[2:]
        return pack_tensor(array)

    def _may_be_image(self) -> bool:
        self._rest = max(0, self._rest - 1)
        return self._rest == 0

    def _palette(self, array: Array, method: Method) -> tuple[TensorSpec, list[memoryview]] | None:
        coded = encode_images(array, self._palettes)
        if coded is None:
            self._rest = min(MAX_REST, 2**self._misses) + 1
            self._misses += 1
            return None
        self._palettes, self._misses = coded.palettes, 0
        body = coded.body.data if method is Method.PALETTE else memoryview(compress(coded.body))
        return _spec(array, method, [memoryview(encode_recipe(coded.recipe)), *chunks(body)])


#: Those that make indexes of pixels. They stand first among a tensor's methods.
_IMAGES: Final = (Method.PALETTE, Method.PALETTE_ZSTD)


def _methods(array: Array) -> tuple[Method, ...]:
    if array.dtype == np.float32:
        return (*_IMAGES, Method.SHUFFLE_ZSTD)
    return (Method.ZSTD,) if array.dtype.itemsize == 1 else (Method.SHUFFLE_ZSTD,)


def _compressed(array: Array, method: Method) -> tuple[TensorSpec, list[memoryview]]:
    body = shuffle(array) if method is Method.SHUFFLE_ZSTD else array.reshape(-1).view(np.uint8)
    return _spec(array, method, chunks(memoryview(compress(body))))


def _spec(array: Array, method: Method, frames: list[memoryview]) -> tuple[TensorSpec, list[memoryview]]:
    nbytes = sum(map(len, frames))
    return TensorSpec(name_of(array.dtype), tuple(array.shape), len(frames), nbytes, method.value), frames
