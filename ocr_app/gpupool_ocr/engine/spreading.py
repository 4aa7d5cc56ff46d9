"""One session over equal ones on several slices."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from gpupool_ocr.sessions import Argument, ModelMetadata, Session


class Spread:
    """A Session: each call goes to the replica with the fewest under way, else to the one that had the fewest. Thread-safe."""

    def __init__(self, replicas: Sequence[Session]) -> None:
        self._replicas = list(replicas)
        self._under_way = [0] * len(self._replicas)
        self._had = [0] * len(self._replicas)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Spread over {len(self._replicas)}: {self._had} calls>"

    @property
    def calls(self) -> list[int]:
        """How many calls each replica had."""
        return list(self._had)

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, NDArray[Any]]) -> list[Any]:
        """See Session."""
        with self._lock:
            chosen = min(range(len(self._replicas)), key=lambda index: (self._under_way[index], self._had[index]))
            self._under_way[chosen] += 1
            self._had[chosen] += 1
        try:
            return self._replicas[chosen].run(output_names, input_feed)
        finally:
            with self._lock:
                self._under_way[chosen] -= 1

    def get_inputs(self) -> Sequence[Argument]:
        """See Session."""
        return self._replicas[0].get_inputs()

    def get_modelmeta(self) -> ModelMetadata:
        """See Session."""
        return self._replicas[0].get_modelmeta()
