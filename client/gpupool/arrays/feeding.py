"""Arrays of a slice as inputs and outputs of its models: they are named by id, and do not travel.

feed ──RemoteArray──> HeldSpec(id)            Result ──HeldSpec(id)──> RemoteArray

A call whose outputs stayed is kept, with a copy of its inputs, until nobody needs them: the next worker makes them again.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gpupool.arrays.array import RemoteArray
from gpupool.arrays.copies import copied
from gpupool.arrays.handles import Handle
from gpupool.arrays.origin import here
from gpupool.link import Link
from gpupool_wire.errors import RemoteProtocolError
from gpupool_wire.messages import Result, Run
from gpupool_wire.operations import Spec
from gpupool_wire.tensors import Buffer, HeldSpec, SeenSpec, Value, ValueSpec, dtype_named

if TYPE_CHECKING:
    from gpupool.arrays.namespace import Namespace
    from gpupool.models import Model

Inputs = Sequence[tuple[str, ValueSpec]]


class Kept:
    """The arrays of one call that are, or are to be, on the device."""

    def __init__(self, namespace: Namespace, link: Link, inputs: Inputs, names: Collection[str]) -> None:
        self._caller = namespace._caller
        self._held = [spec.id for _, spec in inputs if isinstance(spec, HeldSpec)]
        self._link = link
        self._stream = namespace.stream
        self._stream.hold_on(link, self._held)
        self._handles = {name: Handle(self._stream) for name in names}

    @property
    def ids(self) -> list[tuple[str, int]]:
        """Outputs and the ids they get, as Run names them."""
        return [(name, handle.id) for name, handle in self._handles.items()]

    def array(self, spec: HeldSpec | SeenSpec) -> RemoteArray:
        """Return the array of an output that stayed. Raises RemoteProtocolError for one nobody asked for."""
        for handle in self._handles.values():
            if isinstance(spec, HeldSpec) and handle.id == spec.id:
                return RemoteArray._new(self._caller, handle, Spec(dtype_named(spec.dtype), tuple(spec.shape)))
        raise RemoteProtocolError(f"the worker kept an output that was not to stay: {spec}")

    def ran(self, model: Model, question: Run, frames: Sequence[Buffer], took_ns: int) -> None:
        """Remember a call, so that its outputs can be made again."""
        if self._handles:
            ids = [handle.id for handle in self._handles.values()]
            rerun = ModelCall(model, question, frames, self._stream.holding.limit_bytes)
            self._stream.ran(rerun, ids, self._held, here("a call of a model"), took_ns)


class ModelCall:
    """A call of a model that can be made again. It does not keep the model open: a closed one is opened for it once more."""

    def __init__(self, model: Model, question: Run, frames: Sequence[Buffer], limit_bytes: int) -> None:
        self._model = weakref.ref(model)
        self._reopen = model.reopener
        self._question = question
        self.nbytes = sum(map(len, frames))
        # What will not be kept is not copied.
        self._frames = copied(frames) if self.nbytes <= limit_bytes else []

    def __repr__(self) -> str:
        return f"<ModelCall, {self.nbytes} bytes of inputs>"

    def again(self, link: Link) -> None:
        """Call the model on `link`: the same outputs get the same ids. Raises what the call raises."""
        model = self._model()
        if model is not None and not model.is_closed:
            self._call(model, link)
            return
        model = self._reopen()
        try:
            self._call(model, link)
        finally:
            model.close()

    def _call(self, model: Model, link: Link) -> None:
        session_id = model.session_id_on(link)
        question = msgspec.structs.replace(self._question, call_id=link.next_call_id(), session_id=session_id)
        answer, _ = link.call(question, self._frames)
        if not isinstance(answer, Result):
            raise RemoteProtocolError(f"the worker answered Run with {type(answer).__name__}")


def held_inputs(namespace: Callable[[], Namespace], feed: Mapping[str, Value]) -> dict[str, HeldSpec]:
    """Return how inputs are named that are arrays of the slice, everything they are made of being sent first.

    Raises UsageError for an array of another slice, and WorkerLost for one that is gone.
    """
    arrays: dict[str, Any] = {name: value for name, value in feed.items() if isinstance(value, RemoteArray)}
    if not arrays:
        return {}
    home = namespace()
    held = {name: HeldSpec(home._caller.own(array)) for name, array in arrays.items()}
    home.stream.flush()
    return held
