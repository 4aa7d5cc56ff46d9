"""A model as a program names it: a path or bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from gpupool.onnxruntime.errors import ort_error


class ModelFile:
    """Where a session's model comes from. A path is read on this host; the agent never sees it."""

    __slots__ = ("data", "path")

    def __init__(self, path_or_bytes: object) -> None:
        self.path: str | None = None
        self.data: bytes | None = None
        if isinstance(path_or_bytes, str | os.PathLike):
            self.path = os.fspath(path_or_bytes)
        elif isinstance(path_or_bytes, bytes):
            self.data = path_or_bytes
        else:
            raise TypeError(f"Unable to load from type '{type(path_or_bytes)}'")

    @property
    def source(self) -> bytes | str:
        """What a slice opens: the path or the bytes."""
        if self.data is not None:
            return self.data
        if not self.path:
            raise TypeError("__init__(): incompatible constructor arguments. The path of the model is empty")
        return self.path

    def with_weights(self) -> bytes | None:
        """Return the model with the weights it keeps in other files put into it; None where that cannot be done here.

        It takes the package onnx, and a path: only then is it known where the other files are.
        """
        if self.path is None:
            return None
        try:
            import onnx
        except ImportError:
            return None
        whole: bytes = onnx.load(self.path).SerializeToString()
        return whole

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Raise what ONNX Runtime raises where the file of the model cannot be read."""
        try:
            yield
        except FileNotFoundError:
            raise self._failed("NoSuchFile", "3 : NO_SUCHFILE", f"Load model {self.path} failed. File doesn't exist") from None
        except IsADirectoryError:
            raise self._failed("InvalidProtobuf", "7 : INVALID_PROTOBUF", "Protobuf parsing failed.") from None
        except PermissionError as error:
            raise self._failed("Fail", "1 : FAIL", f"system error number {error.errno}") from error

    def _failed(self, kind: str, status: str, text: str) -> Exception:
        return ort_error(kind, f"[ONNXRuntimeError] : {status} : Load model from {self.path} failed:{text}")
