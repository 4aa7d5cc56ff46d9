"""The seam between the service and where jobs wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from gpupool_ocr.jobs.job import Job, JobView, Outcome, Taken
from gpupool_wire.errors import GpupoolError

#: Documents that wait. At a second a page, 64 on a small machine is a minute: longer than a caller waits.
MAX_WAITING: Final = 64
#: How long an answer is kept for whoever asks again (seconds).
KEEP_S: Final = 3600.0
#: A job whose worker died so often is likely what kills them.
MAX_DELIVERIES: Final = 3


class QueueFull(GpupoolError):
    """More documents wait than can be read in good time: try again later."""

    code = "busy"
    http_status = 429


class QueueAway(GpupoolError):
    """The queue cannot be reached: try again later."""

    code = "queue_away"
    http_status = 503


Tell = Callable[[Outcome], None]


class Board(Protocol):
    """Where jobs wait. Thread-safe."""

    def submit(self, job: Job, content: bytes) -> str:
        """Put a job up; return its id, or that of the job with the same tenant and key. Raises QueueFull, QueueAway."""

    def take(self, wait_s: float) -> Taken | None:
        """Return a job that is now this caller's to finish, None where none came in time. Raises QueueAway."""

    def renew(self, taken: Taken) -> None:
        """Say that a job is still being worked on. Raises QueueAway."""

    def finish(self, taken: Taken, outcome: Outcome) -> bool:
        """Record the answer; return whether it was the first. Raises QueueAway."""

    def give_back(self, taken: Taken) -> None:
        """Put a job up again that was not finished. Raises QueueAway."""

    def find(self, job_id: str, tenant: str) -> JobView | None:
        """Return a tenant's job; None where there is none of that id. Raises QueueAway."""

    def listen(self, job_id: str, tell: Tell) -> Callable[[], None]:
        """Call `tell`, in any thread, once the job is done; return what ends this."""

    @property
    def waiting(self) -> int:
        """How many jobs wait, as far as is known."""

    def close(self) -> None:
        """End the board's own threads."""
