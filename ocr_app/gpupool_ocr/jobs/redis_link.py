"""The one place that knows redis-py: a connection whose troubles are errors of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gpupool_ocr.jobs.board import QueueAway
from gpupool_wire.errors import UsageError

#: A Redis that says nothing for so long is away; longer than any call blocks there.
ANSWER_S = 2.0
PREFIX = "gpupool:ocr:"


def connect(url: str) -> Any:  # noqa: ANN401 - redis-py types depend on settings
    """Return a client; nothing is sent yet. Raises UsageError for what is no address."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=ANSWER_S,
            socket_connect_timeout=ANSWER_S,
            retry=Retry(NoBackoff(), 0),  # whoever waits decides how often it is tried
            protocol=2,
        )
    except ValueError as error:
        raise UsageError(f"{url} is no address of a Redis: {error}; write redis://HOST:PORT/0") from error


@contextmanager
def away() -> Iterator[None]:
    """Translate redis-py's errors. Raises QueueAway."""
    import redis
    from redis.exceptions import BusyLoadingError, ReadOnlyError

    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError, BusyLoadingError, ReadOnlyError) as error:
        raise QueueAway(f"the Redis of the jobs is away: {error}", retry_after_s=2.0) from error
    except redis.ResponseError as error:
        raise QueueAway(f"the Redis of the jobs refuses: {error}", retry_after_s=5.0) from error
