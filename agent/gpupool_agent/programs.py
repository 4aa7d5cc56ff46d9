"""The models a worker has open: one program for each model and set of options, however many sessions use it.

    acquire(OpenModel) ──in the cache?──> scan ──> device.open ──> SharedProgram          release ──last user──> device.close
                            └─no─> ModelMissing(offset)

Weights are so stored, and charged, once per worker. All of it happens on one thread, the loader: opening takes seconds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec

from gpupool_agent.core.model_scan import check_model, scan_model
from gpupool_agent.devices.base import Device, Program
from gpupool_agent.models import ModelCache
from gpupool_agent.quantum import Quantum
from gpupool_wire.messages import ModelMissing, ModelOptions, OpenModel

#: How fast a model is read with Python's lock held, at the least: 125 MB were measured to hold it for 74 ms.
_LOCKED_BYTES_PER_MS = 200_000

_encode_options = msgspec.json.Encoder(order="sorted").encode


@dataclass(slots=True, kw_only=True, eq=False)
class SharedProgram:
    """An open model and who uses it."""

    sha256: str
    options: ModelOptions
    program: Program
    users: int = 0
    #: The latest call's execution time and the largest input that ran quickly: short calls need no thread of their own.
    latest_ns: int | None = None
    quick_bytes: int = 0


class Programs:
    """The open models of one worker. Used by the loader thread alone."""

    def __init__(self, device: Device, cache: ModelCache, quantum: Quantum) -> None:
        self._device = device
        self._cache = cache
        self._quantum = quantum
        self._open: dict[tuple[str, bytes], SharedProgram] = {}

    def __len__(self) -> int:
        return len(self._open)

    def acquire(self, request: OpenModel) -> SharedProgram | ModelMissing:
        """Return the program of a request, opened now if need be, or what of the model is missing.

        Raises OutOfSliceMemory (before anything is uploaded where the file alone does not fit), ModelRejected, UsageError,
        LimitExceeded, and LeaseLost where the worker stops meanwhile.
        """
        key = (request.sha256, _encode_options(request.options))
        shared = self._open.get(key)
        if shared is None:
            account = self._device.account
            if request.nbytes > account.limit_bytes - account.used_bytes:
                raise account.refusal(request.nbytes, f"model {request.sha256[:12]}")
            model = self._cache.load(request.sha256)
            if model is None:
                offset = self._cache.begin(request.sha256, request.nbytes)
                return ModelMissing(call_id=request.call_id, sha256=request.sha256, offset=offset)
            program = self._open_program(model, request)
            shared = self._open[key] = SharedProgram(sha256=request.sha256, options=request.options, program=program)
        shared.users += 1
        return shared

    def release(self, shared: SharedProgram) -> None:
        """One user less; the last one closes the program."""
        shared.users -= 1
        if shared.users == 0:
            del self._open[shared.sha256, _encode_options(shared.options)]
            self._device.close(shared.program)

    def _open_program(self, model: bytes, request: OpenModel) -> Program:
        scan = scan_model(memoryview(model))
        check_model(scan)
        name = f"model {request.sha256[:12]}"
        if not self._device.opens_in_quantum:
            self._quantum.announce_silence(_silence_ms(len(model)))
            return self._device.open(model, scan, request.options, name)
        self._quantum.enter()
        started_ns = time.monotonic_ns()
        try:
            self._quantum.announce_silence(_silence_ms(len(model)))
            return self._device.open(model, scan, request.options, name)
        finally:
            self._quantum.leave(None, time.monotonic_ns() - started_ns)


def _silence_ms(nbytes: int) -> int:
    """Return for how long opening a model of that size may keep this process from beating."""
    return 300 + nbytes // _LOCKED_BYTES_PER_MS
