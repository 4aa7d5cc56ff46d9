"""What a program may wish of a slice beside its size, and the request that says it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TypedDict, TypeVar

import msgspec

from gpupool.settings import wanted_size
from gpupool_wire.errors import UsageError
from gpupool_wire.messages import RequestSlice
from gpupool_wire.units import Apart, Arrange, Hold, Policy, parse_elastic, parse_memory

E = TypeVar("E", Policy, Hold, Arrange, Apart)


class Wishes(TypedDict, total=False):
    """What can be said of a slice; everything may be left out."""

    #: "fixed" (never more than its compute) or "burst" (idle device time, too).
    policy: str
    #: The only kind of device wanted: "cuda", "cpu", "null".
    kind: str | None
    #: Seconds to queue where it does not fit now.
    wait: float
    #: For people; and what `apart` goes by.
    label: str
    #: Whose quota within the tenant counts.
    project: str
    #: 0 to 100, 50 is usual: higher is served first, and above 50 a tenant has to be entitled.
    priority: int
    #: Compute in normalised units instead of per cent, for pools of unlike devices.
    tflops: int
    #: Any of these GPU models; labels of device or node; labels that are versions and at least this.
    models: Sequence[str]
    labels: Mapping[str, str]
    at_least: Mapping[str, str]
    #: On the node of this slice; or not on the "device" or "node" of slices with the same label.
    near: str
    apart: str
    #: Out of this reservation.
    reservation: str


def request_of(
    compute: int | str | None, memory: int | str | None, wishes: Wishes, *, count: int, hold: Hold, arrange: Arrange
) -> RequestSlice:
    """Return the request for slices of that size. Raises UsageError for what cannot be."""
    if unknown := sorted(set(wishes) - set(Wishes.__annotations__)):
        raise UsageError(f"a slice has no {', '.join(unknown)}: it takes {', '.join(Wishes.__annotations__)}")
    usual_compute, usual_memory = wanted_size()
    tflops = wishes.get("tflops", 0)
    least, most = (0, 0) if tflops and compute is None else parse_elastic(usual_compute if compute is None else compute)
    wait = wishes.get("wait", 0.0)
    if wait < 0:
        raise UsageError(f"wait is a number of seconds from 0 on, not {wait}")
    request = RequestSlice(
        call_id=0,
        request_id=uuid.uuid4().hex,
        compute_pct=least,
        compute_max_pct=most,
        tflops=tflops,
        memory_mib=usual_memory if memory is None else parse_memory(memory),
        policy=choice(Policy, wishes.get("policy", Policy.FIXED), "policy"),
        hold=hold,
        kind=wishes.get("kind"),
        wait_ms=int(wait * 1000),
        label=wishes.get("label", ""),
        count=count,
        arrange=arrange,
        project=wishes.get("project", ""),
        priority=wishes.get("priority", 50),
        models=list(wishes.get("models", ())),
        node_labels=dict(wishes.get("labels", {})),
        at_least=dict(wishes.get("at_least", {})),
        near=wishes.get("near", ""),
        apart=choice(Apart, wishes.get("apart", Apart.NO), "apart"),
        reservation=wishes.get("reservation", ""),
    )
    try:
        return msgspec.convert(msgspec.to_builtins(request), RequestSlice)
    except msgspec.ValidationError as error:
        raise UsageError(f"such a slice cannot be asked for: {error}") from error


def choice(kind: type[E], value: str, name: str) -> E:
    """Return one of the values there are; raise UsageError that names them for another."""
    try:
        return kind(value)
    except ValueError:
        raise UsageError(f"{name} is {' or '.join(repr(str(member)) for member in kind)}, not {value!r}") from None
