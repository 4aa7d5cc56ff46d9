"""Tensors that are sent again and again: named by a digest of their content, once the worker has kept them.

    first time ──sampled──> remembered     again: digest, sent with the tensor, to be kept     from then on: the digest alone

Hashing every tensor would cost more than it saves, so the first look is at a few samples; only what looks like one of before is
hashed. The digest is SHA-256: nobody can make two tensors that have the same one, and who keeps a tensor hashes it again first.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import OrderedDict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gpupool_wire.tensors import name_of

Array = NDArray[Any]

#: Smaller tensors are quicker sent.
MIN_SEEN_BYTES: Final = 65_536
#: Tensors remembered: by samples (a few words each) and by digest (as many as a worker may keep of that size).
MAX_SAMPLES: Final = 4_096
MAX_DIGESTS: Final = 4_096
#: How many words of eight bytes a sample looks at.
_WORDS: Final = 509


def digest_of(array: Array) -> bytes:
    """Return the digest of an array's dtype, shape and content (C order, little-endian)."""
    array = np.ascontiguousarray(array)
    state = hashlib.sha256(f"{name_of(array.dtype)}{array.shape}".encode())
    state.update(array.reshape(-1).view(np.uint8).data)
    return state.digest()


class Seen:
    """What one worker has been sent. Threads may share it: they forget what the other remembers at worst."""

    __slots__ = ("_kept", "_samples")

    def __init__(self) -> None:
        self._samples: OrderedDict[int, None] = OrderedDict()
        #: Digests, and whether the worker is likely to have them. One that it turned out not to keep is not offered again.
        self._kept: OrderedDict[bytes, bool] = OrderedDict()

    def look(self, array: Array) -> tuple[bytes, bool]:
        """Return the digest of an array that was sent before, and whether it is kept already; an empty one for a new array.

        A digest that is not kept yet is to be sent along, with which it counts as kept.
        """
        if array.nbytes < MIN_SEEN_BYTES or not array.flags.c_contiguous or array.dtype.hasobject:
            return b"", False
        sample = _sample(array)
        is_new = sample not in self._samples
        _remember(self._samples, sample, None, MAX_SAMPLES)
        if is_new:
            return b"", False
        digest = digest_of(array)
        is_kept = self._kept.get(digest)
        if is_kept is None:
            _remember(self._kept, digest, True, MAX_DIGESTS)
            return digest, False
        return (digest, True) if is_kept else (b"", False)

    def missing(self, digest: bytes) -> None:
        """The worker has not kept a tensor."""
        _remember(self._kept, digest, False, MAX_DIGESTS)


def _sample(array: Array) -> int:
    words = array.reshape(-1).view(np.uint8)[: array.nbytes // 8 * 8].view(np.uint64)
    some = np.ascontiguousarray(words[:: max(1, words.size // _WORDS)])
    return hash((array.dtype.str, array.shape, zlib.crc32(some.data)))


def _remember(known: OrderedDict[Any, Any], key: object, value: object, limit: int) -> None:
    known[key] = value
    known.move_to_end(key)
    while len(known) > limit:
        known.popitem(last=False)
