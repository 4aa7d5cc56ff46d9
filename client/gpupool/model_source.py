"""A model as the client keeps it, so that it can be uploaded, and uploaded again elsewhere: its bytes, or its file and hash."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from gpupool.protocols import ModelSource
from gpupool_wire.errors import Conflict, LimitExceeded, UsageError
from gpupool_wire.limits import MAX_MODEL_BYTES
from gpupool_wire.messages import UPLOAD_PART_BYTES

_READ_BYTES: Final = UPLOAD_PART_BYTES


class KeptModel(Protocol):
    """What an upload needs."""

    #: Hash of the whole model, as lower-case hex.
    sha256: str
    nbytes: int
    #: What a person knows it by.
    name: str

    def parts(self, offset: int) -> Iterator[tuple[int, bytes | memoryview]]:
        """Yield (offset, bytes) from `offset` on, each at most UPLOAD_PART_BYTES."""


class ModelInMemory:
    """A model given as bytes."""

    def __init__(self, model: bytes | bytearray | memoryview) -> None:
        # A bytearray could change under us; bytes cannot, and are not copied.
        self._bytes = model if isinstance(model, bytes) else bytes(model)
        self.nbytes = len(self._bytes)
        _check_size(self.nbytes, "the model")
        self.sha256 = hashlib.sha256(self._bytes).hexdigest()
        self.name = f"{self.sha256[:8]} (bytes)"

    def __repr__(self) -> str:
        return f"<model of {self.nbytes} bytes, sha256 {self.sha256[:12]}>"

    def parts(self, offset: int) -> Iterator[tuple[int, bytes | memoryview]]:
        """Yield views of the bytes."""
        view = memoryview(self._bytes)
        for start in range(offset, self.nbytes, UPLOAD_PART_BYTES):
            yield start, view[start : start + UPLOAD_PART_BYTES]


class ModelFile:
    """A model given as a path: hashed once, and read again only for an upload. A file that changes in between is noticed."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self.name = self.path.name
        with open(self.path, "rb") as file:
            self.nbytes = os.fstat(file.fileno()).st_size
            _check_size(self.nbytes, str(self.path))
            self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()

    def __repr__(self) -> str:
        return f"<model {self.path}, {self.nbytes} bytes, sha256 {self.sha256[:12]}>"

    def parts(self, offset: int) -> Iterator[tuple[int, bytes | memoryview]]:
        """Yield the file's parts; raise Conflict where its bytes are not those that were hashed.

        The hash needs the whole file, so what precedes `offset` is read too. The last part is withheld until the hash agrees.
        """
        digest = hashlib.sha256()
        start, held = 0, b""
        try:
            with open(self.path, "rb") as file:
                while part := file.read(_READ_BYTES):
                    yield from _beyond(offset, start, held)
                    start += len(held)
                    held = part
                    digest.update(part)
        except OSError as error:
            raise self._changed(f"it cannot be read any more ({error})") from error
        if digest.hexdigest() != self.sha256:
            raise self._changed(f"its SHA-256 is {digest.hexdigest()[:12]}… now and was {self.sha256[:12]}…")
        yield from _beyond(offset, start, held)

    def _changed(self, how: str) -> Conflict:
        return Conflict(
            f"the model file {self.path} has changed since its session was opened: {how}; open a new session",
            path=str(self.path),
        )


def _beyond(offset: int, start: int, part: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield what of the `part` that begins at `start` lies at `offset` or beyond."""
    first = max(start, offset)
    if first < start + len(part):
        yield first, part[first - start :]


def keep_model(model: ModelSource) -> KeptModel:
    """Return what is kept of a model. Raises the OSError of a file that cannot be read, LimitExceeded, UsageError."""
    if isinstance(model, bytes | bytearray | memoryview):
        return ModelInMemory(model)
    if isinstance(model, str | os.PathLike):
        return ModelFile(model)
    raise UsageError(f"a model is its bytes or the path of its file, not {type(model).__name__}")


def _check_size(nbytes: int, what: str) -> None:
    if nbytes > MAX_MODEL_BYTES:
        raise LimitExceeded(f"{what} has {nbytes} bytes; the limit is {MAX_MODEL_BYTES}", nbytes=nbytes, limit=MAX_MODEL_BYTES)
