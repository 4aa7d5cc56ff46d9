"""What travels over a board."""

from __future__ import annotations

import msgspec


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A document somebody wants read. Its content travels beside it."""

    id: str
    #: Whoever sent it: nobody else sees it.
    tenant: str
    bid: str
    tid: str
    #: What the sender calls the file.
    name: str
    #: Goes through every log line about it.
    trace: str
    #: Wall clock, for reports only (seconds).
    submitted: float
    #: An address that gets the answer, too.
    callback: str | None = None
    #: The sender's own name for this request: a second one of that name gets the first one's answer.
    idempotency_key: str | None = None
    #: Whether its pages may be kept to learn from.
    keep: bool = True


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The one answer to a job."""

    #: The HTTP status it is told with.
    status: int
    #: JSON.
    body: bytes
    #: Who read it.
    instance: str = ""


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """A job as its sender may see it."""

    job: Job
    #: waiting, working, done
    state: str
    outcome: Outcome | None = None


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A job in a worker's hands."""

    job: Job
    content: bytes
    #: How often it was handed out, this time counted.
    delivery: int = 1
    #: What the board knows it by.
    ticket: str = ""
