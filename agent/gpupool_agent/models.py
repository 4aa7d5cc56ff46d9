"""The node's cache of models on disk, as one tenant's worker sees it.

    begin(sha256, nbytes) ──> put(part) ... put(part) ──hash is right──> <root>/<tenant>/<sha256>.onnx ──load──> verified bytes

Models are named by their SHA-256 and kept apart by tenant, so that nobody learns by a hash what others run. Files appear by an
atomic rename once their hash is right, and are hashed again whenever they are loaded. The cache is shared by the node's workers
and bounded: whoever adds a model removes what was not used for longest.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from gpupool_agent.core.ledger import mib
from gpupool_wire.errors import LimitExceeded, RemoteProtocolError
from gpupool_wire.limits import MAX_FRAME_BYTES
from gpupool_wire.tensors import Buffer

_log = logging.getLogger(__name__)

#: Uploads one worker has open at once; each holds a file and its hash.
MAX_UPLOADS = 8
#: A part nobody has added to for this long belongs to a worker that is gone.
STALE_PART_S = 3600.0


#: Of a model of no bytes.
EMPTY_SHA256 = hashlib.sha256().hexdigest()


@dataclass(slots=True)
class _Upload:
    """One model on its way: parts come in order, from however many channels."""

    nbytes: int
    path: Path
    file: BinaryIO
    stored: int = 0
    hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def discard(self) -> None:
        self.file.close()
        self.path.unlink(missing_ok=True)


class ModelCache:
    """The models of one tenant. Used by one thread at a time; several processes may share the folder."""

    def __init__(self, root: Path, tenant: str, limit_bytes: int) -> None:
        self._root = root
        # A tenant's name may hold anything; its hash is a safe name for a folder.
        self._folder = root / hashlib.sha256(tenant.encode()).hexdigest()[:32]
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._limit_bytes = limit_bytes
        self._uploads: dict[str, _Upload] = {}

    def __repr__(self) -> str:
        return f"<ModelCache, {len(self._uploads)} uploads>"

    def load(self, sha256: str) -> bytes | None:
        """Return the model, or None where it is not here (any more, or not as it was stored)."""
        if sha256 == EMPTY_SHA256:
            return b""  # there is nothing to upload; the runtime says what it thinks of it
        path = self._path(sha256)
        try:
            model = path.read_bytes()
            os.utime(path)  # its time of last use, for whoever makes room
        except FileNotFoundError:
            return None
        if hashlib.sha256(model).hexdigest() != sha256:
            _log.warning("a cached model is damaged and removed", extra={"action": "model_damaged", "sha256": sha256})
            path.unlink(missing_ok=True)
            return None
        return model

    def begin(self, sha256: str, nbytes: int) -> int:
        """Expect the upload of a model, and return the offset from which it is wanted.

        Raises LimitExceeded where the cache or the number of uploads does not allow it.
        """
        known = self._uploads.get(sha256)
        if known is not None and known.nbytes == nbytes:
            return known.stored
        if known is not None:
            self._forget(sha256)
        if nbytes > self._limit_bytes:
            raise LimitExceeded(
                f"a model of {mib(nbytes)} does not fit the node's model cache of {mib(self._limit_bytes)}",
                nbytes=nbytes,
                limit=self._limit_bytes,
            )
        if len(self._uploads) >= MAX_UPLOADS:
            self._forget(next(iter(self._uploads)))  # the oldest: it can begin again
        self._make_room(nbytes)
        path = self._folder / f"{sha256}.{os.getpid()}.part"
        self._uploads[sha256] = _Upload(nbytes, path, path.open("wb"))
        return 0

    def put(self, sha256: str, offset: int, part: Buffer) -> bool:
        """Store one part; return whether the model is complete. A part that is stored already is accepted again.

        Raises RemoteProtocolError for a part nobody announced, out of order, or beyond the end, and for a model that does not
        hash to its name; LimitExceeded where the disk is full.
        """
        upload = self._uploads.get(sha256)
        end = offset + len(part)
        if upload is None:
            if self._path(sha256).exists():
                return True  # another channel or worker finished it meanwhile
            raise RemoteProtocolError(f"a part of model {sha256[:12]} arrived, but no upload of it is open: open the model first")
        if not part or len(part) > MAX_FRAME_BYTES or end > upload.nbytes or offset > upload.stored:
            raise RemoteProtocolError(
                f"a part of {len(part)} bytes at {offset} does not fit model {sha256[:12]}: {upload.stored} of {upload.nbytes} "
                "bytes are stored, and parts come in order",
                offset=upload.stored,
            )
        if end > upload.stored:
            fresh = memoryview(part)[upload.stored - offset :]
            self._append(sha256, upload, fresh)
        return upload.stored == upload.nbytes and self._finish(sha256, upload)

    def close(self) -> None:
        """Drop the uploads under way."""
        for sha256 in list(self._uploads):
            self._forget(sha256)

    def _path(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.onnx"

    def _append(self, sha256: str, upload: _Upload, fresh: memoryview) -> None:
        try:
            upload.file.write(fresh)
        except OSError as error:
            self._forget(sha256)
            raise LimitExceeded(f"the node cannot store the model: {error.strerror or error}") from error
        upload.hash.update(fresh)
        upload.stored += len(fresh)

    def _finish(self, sha256: str, upload: _Upload) -> bool:
        if upload.hash.hexdigest() != sha256:
            self._forget(sha256)
            raise RemoteProtocolError(
                f"the {upload.nbytes} bytes uploaded hash to {upload.hash.hexdigest()[:12]}…, not to {sha256[:12]}…: "
                "send them again"
            )
        del self._uploads[sha256]
        upload.file.close()
        upload.path.replace(self._path(sha256))
        return True

    def _forget(self, sha256: str) -> None:
        with contextlib.suppress(OSError):
            self._uploads.pop(sha256).discard()

    def _make_room(self, nbytes: int) -> None:
        """Remove what was not used for longest, of any tenant, until `nbytes` more fit."""
        held: list[tuple[float, int, Path]] = []
        for path in self._root.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                held.append((stat.st_mtime, stat.st_size, path))
        total = sum(size for _, size, _ in held)
        stale_before = time.time() - STALE_PART_S  # file times are wall-clock times
        for used_at, size, path in sorted(held):
            if total + nbytes <= self._limit_bytes:
                return
            if path.suffix == ".onnx" or used_at < stale_before:
                path.unlink(missing_ok=True)
                total -= size
