"""Turns what a worker reports into ONNX Runtime's own exceptions, and names what cannot work remotely."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from gpupool_wire.errors import ExecutionFailed, GpupoolError, ModelRejected

#: "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : ", which precedes the text of every status.
STATUS = re.compile(r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ")
#: Exceptions of Python that ONNX Runtime raises and a worker passes on by name. What a peer names is looked up here and nowhere
#: else, so that it cannot choose what is raised in its caller's process; any other name becomes RuntimeError.
_BUILTIN = {kind.__name__: kind for kind in (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError)}
#: Parsing has one text for bytes and another for files.
_PARSING = ("Failed to load model because protobuf parsing failed.", "Protobuf parsing failed.")
#: What ONNX Runtime says once a model is loaded and its nodes are matched with kernels; files and bytes read the same there.
_AFTER_LOADING = re.compile(r"Could not find an implementation|inference_session\.cc|Exception during initialization")


class RemoteLimit(GpupoolError, RuntimeError):
    """Something of ONNX Runtime's surface cannot work on a remote slice."""

    code = "remote_limit"


def limit(name: str, reason: str) -> RemoteLimit:
    """Return the error for a name that cannot work remotely."""
    return RemoteLimit(f"{name} cannot work on a remote slice: {reason}")


def ort_error(name: str, message: str) -> Exception:
    """Return ONNX Runtime's exception of that class name; a builtin one or RuntimeError where it has none of that name."""
    from gpupool.onnxruntime.wheel import exceptions

    kind = getattr(exceptions(), name, None)
    if kind is None:
        kind = _BUILTIN.get(name)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        return RuntimeError(message)
    return kind(message)


def loading_text(message: str, path: str | None) -> str:
    """Return the text ONNX Runtime has for a model that came from a file, from the one it has for bytes."""
    if path is None or _AFTER_LOADING.search(message):
        return message
    status = STATUS.match(message)
    if status is None:
        return message
    rest = message[status.end() :]
    return f"{status[0]}Load model from {path} failed:{_PARSING[1] if rest == _PARSING[0] else rest}"


@contextmanager
def translated(path: str | None = None) -> Iterator[None]:
    """Raise ONNX Runtime's own exception for a ModelRejected or ExecutionFailed that carries one; others pass as they are."""
    try:
        yield
    except ModelRejected as error:
        if "ort_class" not in error.details:
            raise
        raise ort_error(str(error.details["ort_class"]), loading_text(error.message, path)) from error
    except ExecutionFailed as error:
        if "ort_class" not in error.details:
            raise
        raise ort_error(str(error.details["ort_class"]), error.message) from error


def status_text(error: Exception) -> str:
    """Return the message of a status without its prefix, as callbacks and bindings show it."""
    text = str(error)
    match = STATUS.match(text)
    return text[match.end() :] if match else text
