"""Slices of several devices that were granted together, and sessions that spread their calls over them.

    run ──> the replica with the fewest calls under way ──> its slice

Each replica is a session of its own, with its own copy of the weights; calls do not know of each other, so a model that keeps
state between calls is opened on one slice instead.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gpupool.slices import Slice
from gpupool_wire.errors import UsageError

if TYPE_CHECKING:
    from gpupool.onnxruntime import InferenceSession


class Gang:
    """Slices that were granted at once. A context manager: all are released at its end. Thread-safe."""

    def __init__(self, slices: Sequence[Slice]) -> None:
        self.slices = tuple(slices)

    def __repr__(self) -> str:
        return f"<Gang of {len(self.slices)}: {', '.join(f'{s.node}/{s.device}' for s in self.slices)}>"

    def __len__(self) -> int:
        return len(self.slices)

    def __iter__(self) -> Iterator[Slice]:
        return iter(self.slices)

    def __getitem__(self, index: int) -> Slice:
        return self.slices[index]

    def __enter__(self) -> Gang:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def inference_session(
        self,
        model: str | bytes | os.PathLike[str],
        *args: Any,  # noqa: ANN401 - what onnxruntime.InferenceSession takes
        replicas: int | str = "all",
        **kwargs: Any,  # noqa: ANN401
    ) -> ReplicatedSession:
        """Open a model on `replicas` of the slices ("all", or how many) at once; calls go to the one with least to do.

        Raises UsageError for a number of replicas that cannot be, and what `Slice.inference_session` raises.
        """
        count = len(self.slices) if replicas == "all" else replicas
        if isinstance(count, str) or not 1 <= count <= len(self.slices):
            raise UsageError(f'replicas is "all" or a number from 1 to {len(self.slices)}, not {replicas!r}')
        with ThreadPoolExecutor(count) as pool:
            opened = pool.map(lambda held: held.inference_session(model, *args, **kwargs), self.slices[:count])
            return ReplicatedSession(list(opened))

    def release(self) -> None:
        """Give all slices back. Idempotent."""
        for held in self.slices:
            held.release()


class ReplicatedSession:
    """One model on several slices, with the surface of one session: what is not `run` is asked of the first."""

    def __init__(self, sessions: Sequence[InferenceSession]) -> None:
        self.replicas = tuple(sessions)
        #: Calls each replica has had, and calls under way.
        self.calls = [0] * len(sessions)
        self._under_way = [0] * len(sessions)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<ReplicatedSession on {len(self.replicas)} slices, {sum(self.calls)} calls>"

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a session has
        return getattr(self.replicas[0], name)

    def run(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as InferenceSession.run takes and gives them
        """Run the model on the replica with the fewest calls under way; as `InferenceSession.run`."""
        with self._lock:
            index = min(range(len(self.replicas)), key=lambda i: (self._under_way[i], self.calls[i]))
            self._under_way[index] += 1
            self.calls[index] += 1
        try:
            return self.replicas[index].run(*args, **kwargs)
        finally:
            with self._lock:
                self._under_way[index] -= 1
