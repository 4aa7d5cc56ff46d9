"""What the rest of the client needs of a slice and its models: the seams that fakes stand in for.

InferenceSession ──SliceLike.open_model──> RemoteModel ──run──> worker
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from typing import Protocol, runtime_checkable

import msgspec

from gpupool_wire.messages import ModelMeta, ModelOptions, TensorInfo
from gpupool_wire.tensors import Value

#: A model as it is given: its bytes, or the path of its file.
ModelSource = bytes | bytearray | memoryview | str | PathLike[str]


class CallTiming(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time of one call went. All in nanoseconds; the parts add up to `wall_ns`."""

    #: Waiting for the worker to turn to this call.
    queue_ns: int = 0
    #: Waiting for the slice's share of the device.
    throttle_ns: int = 0
    #: On the device.
    execute_ns: int = 0
    #: The rest of the caller's wait: coding, network, waking up, and any failover.
    transfer_ns: int = 0
    #: What the caller waited in all.
    wall_ns: int = 0
    #: Calls that were executed as one batch with this one, itself counted; 0 where it was executed alone.
    batched: int = 0


@runtime_checkable
class RemoteModel(Protocol):
    """One opened model on a slice. Thread-safe: each call in flight travels on a channel of its own."""

    @property
    def inputs(self) -> list[TensorInfo]:
        """The model's inputs, as ONNX Runtime's NodeArg shows them."""

    @property
    def outputs(self) -> list[TensorInfo]:
        """The model's outputs."""

    @property
    def initializers(self) -> list[TensorInfo]:
        """The model's overridable initializers."""

    @property
    def meta(self) -> ModelMeta:
        """ONNX Runtime's ModelMetadata."""

    @property
    def providers(self) -> list[str]:
        """The execution providers the session runs on."""

    @property
    def sha256(self) -> str:
        """Hash of the model's file, as lower-case hex."""

    @property
    def last_timing(self) -> CallTiming | None:
        """The split of the newest finished call of the calling thread; None before its first."""

    def run(
        self,
        feed: Mapping[str, Value],
        outputs: Sequence[str] | None = None,
        run_config: Mapping[str, str] | None = None,
        keep: Collection[str] = (),
    ) -> list[Value]:
        """Return the outputs (all where None) in order; arrays are fresh and writable, as ONNX Runtime's are.

        Inputs may be arrays of the slice (see gpupool.arrays), which do not travel; outputs named in `keep` are such arrays.

        A worker or agent that goes away in mid-call costs time only: the call is repeated on the slice's next place.
        Raises ExecutionFailed and OutOfSliceMemory as the worker reports them (details["ort_class"] names ONNX Runtime's class,
        the message is its text verbatim), LeaseLost once the slice has ended, LocalProtocolError for what cannot travel.
        """

    def close(self) -> None:
        """Forget the session on the worker. Idempotent; never raises because the worker is gone."""


@runtime_checkable
class SliceLike(Protocol):
    """A slice that models can be opened on."""

    @property
    def slice_id(self) -> str:
        """The slice's id."""

    @property
    def device(self) -> str:
        """The device's name on its node."""

    @property
    def kind(self) -> str:
        """What the device is: "cuda", "cpu" or "null"."""

    @property
    def providers(self) -> list[str]:
        """Execution providers of the device, as ONNX Runtime names them, best first. Opens the link where it is not open yet."""

    def open_model(self, model: ModelSource, options: ModelOptions | None = None, *, batching: bool | None = None) -> RemoteModel:
        """Open a model; its bytes are uploaded only where the worker does not have them.

        `batching`: whether its calls may be executed as one with others like them; None leaves it to GPUPOOL_BATCHING.

        Raises ModelRejected with details["ort_class"] and ONNX Runtime's text, OutOfSliceMemory, LeaseLost, LimitExceeded,
        and FileNotFoundError or other OSErrors of reading the file.
        """

    def environment(self) -> dict[str, str]:
        """Return the variables (GPUPOOL_SLICE above all) with which a child process joins as a guest.

        The slice keeps what they point to current for as long as it lives in this process, also when the slice moves.
        """
