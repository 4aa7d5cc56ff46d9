"""What can go wrong, on either side of the wire.

GpupoolError
├── UsageError               you asked for something that cannot be (also ValueError)
├── ProtocolError
│   ├── LocalProtocolError   you broke the rules of the conversation
│   └── RemoteProtocolError  they did: a malformed, oversized or out-of-order message
├── PoolUnreachable          nobody answers at that address (also ConnectionError)
├── NotAuthorized            token, lease or role does not allow it
├── NotFound                 no node, slice, session or model of that id
├── Conflict                 the thing has changed since, or the name is taken
├── SliceRefused             the request does not fit; details hold the numbers compared
├── LeaseLost                the slice was released, has expired or was taken back
├── OutOfSliceMemory         used, asked and limit are named (also MemoryError)
├── ModelEvicted             the session's model was unloaded and is gone from the node: open it again
├── TensorMissing            a tensor was named by its digest and is not kept there: send it whole
├── WorkerLost               the worker or its agent went away in mid-call (also ConnectionError)
├── LimitExceeded            a named limit was passed
├── ModelRejected            the model cannot be opened; carries ONNX Runtime's own class and text
├── ExecutionFailed          the call failed on the device; carries ONNX Runtime's own class and text
└── RemoteFault              anything else the other side reports

An error travels as (code, message, details), never as a pickled object; an unknown code becomes RemoteFault.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec

#: Details are flat so that a page, a log line and a table can all show them.
Detail = str | int | float | bool | None

#: An error is read by people: longer texts are cut, so that a peer cannot fill a log with one message.
MAX_MESSAGE_CHARS = 8_192
MAX_DETAILS = 64


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An error as it travels."""

    code: str
    message: str
    details: dict[str, Detail] = {}


class GpupoolError(Exception):
    """Something went wrong in the pool."""

    code: ClassVar[str] = "error"
    #: The HTTP status a REST answer gives this error.
    http_status: ClassVar[int] = 500

    def __init__(self, message: str | None = None, **details: Detail) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.details: dict[str, Detail] = details
        super().__init__(self.message)

    def to_info(self) -> ErrorInfo:
        """Return this error as it travels; texts over MAX_MESSAGE_CHARS are cut."""
        details = dict(list(self.details.items())[:MAX_DETAILS])
        return ErrorInfo(code=self.code, message=self.message[:MAX_MESSAGE_CHARS], details=details)


class UsageError(GpupoolError, ValueError):
    """The request itself cannot be."""

    code = "usage"
    http_status = 422


class ProtocolError(GpupoolError):
    """The conversation broke its rules."""

    code = "protocol"
    http_status = 400


class LocalProtocolError(ProtocolError):
    """This side broke the rules of the conversation."""

    code = "protocol_local"


class RemoteProtocolError(ProtocolError):
    """The other side broke the rules of the conversation."""

    code = "protocol_remote"


class PoolUnreachable(GpupoolError, ConnectionError):
    """Nobody answers at that address."""

    code = "unreachable"
    http_status = 503


class NotAuthorized(GpupoolError):
    """The token, lease or role does not allow this."""

    code = "not_authorized"
    http_status = 403


class NotFound(GpupoolError):
    """There is nothing of that id."""

    code = "not_found"
    http_status = 404


class Conflict(GpupoolError):
    """It has changed since, or the name is taken."""

    code = "conflict"
    http_status = 409


class SliceRefused(GpupoolError):
    """The request does not fit the pool as it is."""

    code = "refused"
    http_status = 409


class LeaseLost(GpupoolError):
    """The slice was released, has expired or was taken back."""

    code = "lease_lost"
    http_status = 410


class OutOfSliceMemory(GpupoolError, MemoryError):
    """The slice's memory does not suffice."""

    code = "out_of_memory"
    http_status = 507


class WorkerLost(GpupoolError, ConnectionError):
    """The worker or its agent went away in mid-call."""

    code = "worker_lost"
    http_status = 503


class ModelEvicted(GpupoolError):
    """The model was unloaded and is gone from the node: open it again."""

    code = "model_evicted"
    http_status = 410


class TensorMissing(GpupoolError):
    """A tensor that was named by its digest is not kept here: send it whole."""

    code = "tensor_missing"
    http_status = 410


class LimitExceeded(GpupoolError):
    """A limit was passed."""

    code = "limit"
    http_status = 413


class ModelRejected(GpupoolError):
    """The model cannot be opened."""

    code = "model_rejected"
    http_status = 422


class ExecutionFailed(GpupoolError):
    """The call failed on the device."""

    code = "execution_failed"


class RemoteFault(GpupoolError):
    """The other side reports a fault."""

    code = "fault"


_BY_CODE: Mapping[str, type[GpupoolError]] = {
    kind.code: kind
    for kind in (
        UsageError,
        LocalProtocolError,
        RemoteProtocolError,
        PoolUnreachable,
        NotAuthorized,
        NotFound,
        Conflict,
        SliceRefused,
        LeaseLost,
        OutOfSliceMemory,
        ModelEvicted,
        TensorMissing,
        WorkerLost,
        LimitExceeded,
        ModelRejected,
        ExecutionFailed,
        RemoteFault,
    )
}
#: What one side did wrong is, seen from the other, what *they* did wrong.
_MIRRORED = {"protocol_local": "protocol_remote", "protocol_remote": "protocol_local"}


def from_info(info: ErrorInfo) -> GpupoolError:
    """Return the exception for an error that arrived; an unknown code becomes RemoteFault with the code among its details."""
    kind = _BY_CODE.get(_MIRRORED.get(info.code, info.code))
    if kind is None:
        return RemoteFault(info.message, **{**info.details, "code": info.code})
    return kind(info.message, **info.details)
