"""Tensors a slice's clients send again and again: kept by digest, charged to the slice, given back as soon as room is short.

    keep(digest, tensor) ──hashed again, charged──> kept        find(digest) ──> tensor, or TensorMissing
                            └── no room: the longest unused ones go, or it is not kept

One worker serves one slice, so nobody learns by a digest what others have sent.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gpupool_agent.core.ledger import Charge, Purpose
from gpupool_agent.devices.base import Account
from gpupool_wire.coding.seen import digest_of
from gpupool_wire.errors import OutOfSliceMemory, RemoteProtocolError, TensorMissing
from gpupool_wire.tensors import SeenSpec, Value, name_of
from gpupool_wire.units import MIB

Array = NDArray[Any]

#: What of a slice's memory the cache may take at most, and in all: it saves transfers, and models are what the slice is for.
MAX_PART: Final = 8
MAX_BYTES: Final = 256 * MIB


class TensorCache:
    """The kept tensors of one worker. Thread-safe."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._kept: OrderedDict[bytes, tuple[Array, Charge]] = OrderedDict()
        self._nbytes = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<TensorCache, {len(self._kept)} tensors of {self._nbytes} bytes>"

    def keep(self, digest: bytes, value: Value) -> None:
        """Keep a tensor if there is room. Raises RemoteProtocolError where it is none, or the digest is another one's."""
        if not isinstance(value, np.ndarray) or value.dtype.hasobject or digest_of(value) != digest:
            raise RemoteProtocolError("a tensor was sent with a digest that is not its own")
        with self._lock:
            limit = min(MAX_BYTES, self._account.limit_bytes // MAX_PART)
            if digest in self._kept or value.nbytes > limit:
                return
            while self._nbytes + value.nbytes > limit:
                self._drop_one()
            try:
                charge = self._account.take(value.nbytes, Purpose.ARRAYS, "tensors that are sent again")
            except OutOfSliceMemory:
                return
            value = value.view()
            value.flags.writeable = False
            self._kept[digest] = value, charge
            self._nbytes += value.nbytes

    def find(self, spec: SeenSpec) -> Array:
        """Return a kept tensor; raise TensorMissing where it is not, or is another than the caller says."""
        with self._lock:
            kept = self._kept.get(spec.digest)
            if kept is not None:
                self._kept.move_to_end(spec.digest)
        if kept is None or name_of(kept[0].dtype) != spec.dtype or kept[0].shape != spec.shape:
            raise TensorMissing(
                f"no {spec.dtype}{list(spec.shape)} of digest {spec.digest.hex()[:12]} is kept here: send it whole"
            )
        return kept[0]

    def give_one(self) -> bool:
        """Give up the tensor that was not used for longest; return whether there was one."""
        with self._lock:
            return self._drop_one()

    def _drop_one(self) -> bool:
        if not self._kept:
            return False
        _, (value, charge) = self._kept.popitem(last=False)
        self._nbytes -= value.nbytes
        self._account.give(charge)
        return True
