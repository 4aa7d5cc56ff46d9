"""The body of a request for slices, as POST /slices and POST /explain take it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gpupool_wire.errors import UsageError
from gpupool_wire.messages import RequestSlice
from gpupool_wire.messages.common import MAX_CONSTRAINTS
from gpupool_wire.units import GPUS_MAX, PRIORITY_MAX, PRIORITY_USUAL, Apart, Arrange, Hold, Policy, parse_elastic, parse_memory

Amount = int | Annotated[str, Field(max_length=64)]
Short = Annotated[str, Field(min_length=1, max_length=512)]
Labels = Annotated[dict[Short, Annotated[str, Field(max_length=512)]], Field(max_length=MAX_CONSTRAINTS)]


class Wanted(BaseModel):
    """What is wanted: whole per cent ("10..50" follows what is idle) or TFLOPS, and whole MiB or a text such as "2GiB"."""

    model_config = ConfigDict(extra="forbid")

    compute: Amount | None = None
    #: Compute in normalised units, for pools of unlike devices; each device says how fast it is by its label `tflops`.
    tflops: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    memory: Amount
    kind: Annotated[str, Field(max_length=64)] | None = None
    #: So many devices, all or none; "pack" them on few nodes or "spread" them over many.
    gpus: Annotated[int, Field(ge=1, le=GPUS_MAX)] = 1
    arrange: Arrange = Arrange.PACK
    project: Annotated[str, Field(max_length=512, pattern="^[^/]*$")] = ""
    priority: Annotated[int, Field(ge=0, le=PRIORITY_MAX)] = PRIORITY_USUAL
    #: Any of these GPU models; labels that must be as given; labels that are versions and must be at least this.
    models: Annotated[list[Short], Field(max_length=MAX_CONSTRAINTS)] = []
    node_labels: Labels = {}
    at_least: Labels = {}
    #: On the node of this slice; not on the device or node of slices of the account with the same label.
    near: Annotated[str, Field(max_length=512)] = ""
    apart: Apart = Apart.NO
    label: Annotated[str, Field(max_length=512)] = ""
    reservation: Annotated[str, Field(max_length=512)] = ""

    def as_request(self, request_id: str, **more: object) -> RequestSlice:
        """Return the message that says the same. Raises UsageError for sizes that cannot be."""
        if (self.compute is None) == (not self.tflops):
            raise UsageError("say how much compute is wanted: `compute` in per cent or `tflops`, one of them")
        least, most = (0, 0) if self.compute is None else parse_elastic(self.compute)
        return RequestSlice(
            call_id=0,
            request_id=request_id,
            compute_pct=least,
            compute_max_pct=most,
            tflops=self.tflops,
            memory_mib=parse_memory(self.memory),
            kind=self.kind,
            count=self.gpus,
            arrange=self.arrange,
            project=self.project,
            priority=self.priority,
            models=self.models,
            node_labels=self.node_labels,
            at_least=self.at_least,
            near=self.near,
            apart=self.apart,
            label=self.label,
            reservation=self.reservation,
            **more,  # type: ignore[arg-type]
        )


class SliceRequest(Wanted):
    """Ask for a slice, or with `gpus` for several."""

    policy: Policy = Policy.FIXED
    hold: Hold = Hold.HELD
    wait_s: Annotated[float, Field(ge=0, le=86_400)] = 0.0
    request_id: Short | None = None

    def as_message(self, request_id: str) -> RequestSlice:
        """Return the request, with what decides how long it waits and what ends it."""
        return self.as_request(request_id, policy=self.policy, hold=self.hold, wait_ms=int(self.wait_s * 1000))


class ExplainRequest(Wanted):
    """A request that is not made yet."""

    #: Whose request; only admins may name another tenant.
    tenant: Annotated[str, Field(max_length=512)] | None = None
