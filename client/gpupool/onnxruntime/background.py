"""The threads that calls of run_async, submit and run_awaitable are made from."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

#: Calls in flight at once; each holds a channel of its own. The slice executes them one after another anyway.
MAX_CALLS = 8

T = TypeVar("T")


@lru_cache(maxsize=1)
def _executor(pid: int) -> ThreadPoolExecutor:
    """Return this process's threads: a forked child inherits none, so it gets its own."""
    return ThreadPoolExecutor(MAX_CALLS, thread_name_prefix="gpupool-run-async")


def submit(work: Callable[[], T]) -> Future[T]:
    """Do `work` in the background; its future tells of the result, or of what it raised."""
    return _executor(os.getpid()).submit(work)
