"""Arrays of a slice as inputs and outputs of its models: they are named by id, and do not travel.

feed ──RemoteArray──> HeldSpec(id)            Result ──HeldSpec(id)──> RemoteArray
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from gpupool.arrays.array import RemoteArray
from gpupool.arrays.stream import Handle
from gpupool.link import Link
from gpupool_wire.errors import RemoteProtocolError
from gpupool_wire.operations import Spec
from gpupool_wire.tensors import HeldSpec, Value, dtype_named

if TYPE_CHECKING:
    from gpupool.arrays.namespace import Namespace


class Kept:
    """The outputs of one call that are to stay on the device."""

    def __init__(self, namespace: Namespace, link: Link, names: Collection[str]) -> None:
        self._caller = namespace._caller
        stream = namespace.stream
        stream.attach(link)
        self._handles = {name: Handle(stream) for name in names}

    @property
    def ids(self) -> list[tuple[str, int]]:
        """Outputs and the ids they get, as Run names them."""
        return [(name, handle.id) for name, handle in self._handles.items()]

    def array(self, spec: HeldSpec) -> RemoteArray:
        """Return the array of an output that stayed. Raises RemoteProtocolError for an id nobody asked for."""
        for handle in self._handles.values():
            if handle.id == spec.id:
                return RemoteArray._new(self._caller, handle, Spec(dtype_named(spec.dtype), tuple(spec.shape)))
        raise RemoteProtocolError(f"the worker kept array {spec.id}, which was not asked for")


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
