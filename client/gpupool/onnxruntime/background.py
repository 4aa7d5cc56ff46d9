"""The threads that run_async calls back from."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

#: Calls in flight at once; each holds a channel of its own. The slice executes them one after another anyway.
MAX_CALLS = 8


@lru_cache(maxsize=1)
def _executor(pid: int) -> ThreadPoolExecutor:
    """Return this process's threads: a forked child inherits none, so it gets its own."""
    return ThreadPoolExecutor(MAX_CALLS, thread_name_prefix="gpupool-run-async")


def submit(work: Callable[[], None]) -> None:
    """Do `work` in the background; it must not raise."""
    _executor(os.getpid()).submit(work)
