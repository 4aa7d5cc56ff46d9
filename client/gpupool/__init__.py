"""gpupool: run tensor work on a slice of a GPU that is somewhere else.

    import gpupool

    pool = gpupool.connect()                                  # GPUPOOL_URL, or the pool on this machine
    with pool.slice(compute=25, memory="2GiB") as slice:
        session = slice.inference_session("model.onnx")       # the surface of onnxruntime.InferenceSession
        outputs = session.run(None, {"x": array})

Names are imported when they are first used, so that `import gpupool` and `gpupool --help` cost nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpupool.current import current_slice
    from gpupool.embedded import embedded_pool
    from gpupool.models import Model
    from gpupool.pool import Pool, connect
    from gpupool.protocols import CallTiming, RemoteModel
    from gpupool.slice_usage import SliceUsage
    from gpupool.slices import Slice
    from gpupool_wire.errors import (
        Conflict,
        ExecutionFailed,
        GpupoolError,
        LeaseLost,
        LimitExceeded,
        LocalProtocolError,
        ModelRejected,
        NotAuthorized,
        NotFound,
        OutOfSliceMemory,
        PoolUnreachable,
        ProtocolError,
        RemoteFault,
        RemoteProtocolError,
        SliceRefused,
        UsageError,
        WorkerLost,
    )
    from gpupool_wire.messages import ModelMeta, ModelOptions, TensorInfo
    from gpupool_wire.units import Hold, Policy

__all__ = [
    # slices and what runs on them
    "CallTiming",
    # what can go wrong
    "Conflict",
    "ExecutionFailed",
    "GpupoolError",
    "Hold",
    "LeaseLost",
    "LimitExceeded",
    "LocalProtocolError",
    "Model",
    "ModelMeta",
    "ModelOptions",
    "ModelRejected",
    "NotAuthorized",
    "NotFound",
    "OutOfSliceMemory",
    "Policy",
    "Pool",
    "PoolUnreachable",
    "ProtocolError",
    "RemoteFault",
    "RemoteModel",
    "RemoteProtocolError",
    "Slice",
    "SliceRefused",
    "SliceUsage",
    "TensorInfo",
    "UsageError",
    "WorkerLost",
    "connect",
    "current_slice",
    "embedded_pool",
]

#: Where the names that are not errors come from.
_HOMES = {
    "CallTiming": "gpupool.protocols",
    "Hold": "gpupool_wire.units",
    "Model": "gpupool.models",
    "ModelMeta": "gpupool_wire.messages",
    "ModelOptions": "gpupool_wire.messages",
    "Policy": "gpupool_wire.units",
    "Pool": "gpupool.pool",
    "RemoteModel": "gpupool.protocols",
    "Slice": "gpupool.slices",
    "SliceUsage": "gpupool.slice_usage",
    "TensorInfo": "gpupool_wire.messages",
    "connect": "gpupool.pool",
    "current_slice": "gpupool.current",
    "embedded_pool": "gpupool.embedded",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name not in __all__:
        raise AttributeError(f"module 'gpupool' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES.get(name, "gpupool_wire.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
