"""What an agent keeps on disk, under GPUPOOL_HOME/agent: its credential, its models, its workers' scratch folders.

curve.key    0600; the door's secret key, where it is encrypted
lock         held while an agent runs here, so that two agents never share a node's identity
credential   0600; shown to the broker at every greeting
models/      the model cache
scratch/     a folder per worker, gone with it
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType

import zmq

from gpupool_wire.errors import UsageError


class AgentState:
    """The state directory, locked for one agent. A context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.model_cache = folder / "models"
        self.scratch_root = folder / "scratch"
        self._credential = folder / "credential"
        try:
            for wanted in (folder.parent, folder, self.model_cache):
                wanted.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"{folder} cannot be used: {error}; choose another state directory with --home") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise UsageError(f"another agent has its state in {folder}: stop it, or choose another --home") from error

    @property
    def credential(self) -> str:
        """What the broker gave this node to show; empty before it joined."""
        try:
            return self._credential.read_text().strip()
        except FileNotFoundError:
            return ""

    def keep_credential(self, credential: str) -> None:
        """Keep it for the next start."""
        write_atomically(self._credential, credential)

    def curve_secret(self) -> bytes:
        """Return the door's secret key (Z85), made at the first start. Raises UsageError where the file holds none."""
        path = self._folder / "curve.key"
        if not path.exists():
            write_atomically(path, zmq.curve_keypair()[1].decode())
        secret = path.read_bytes().strip()
        try:
            zmq.curve_public(secret)
        except (ValueError, zmq.ZMQError) as error:
            raise UsageError(f"{path} does not hold a key: restore it, or remove it and another is made") from error
        return secret

    @staticmethod
    def write_ready_file(path: Path | None, content: dict[str, str]) -> None:
        """Tell whoever started this agent that it serves."""
        if path is not None:
            write_atomically(path, json.dumps(content))

    def __enter__(self) -> AgentState:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._lock)


def write_atomically(path: Path, text: str) -> None:
    """Write a file (0600) that appears whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
