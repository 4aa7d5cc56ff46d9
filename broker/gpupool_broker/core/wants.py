"""A request as the scheduler handles it: what is asked, in whose name, and how much it matters."""

from __future__ import annotations

from dataclasses import dataclass

from gpupool_broker.core.placement import Ask
from gpupool_broker.core.state import account_of
from gpupool_wire.errors import UsageError
from gpupool_wire.messages import RequestSlice
from gpupool_wire.units import PRIORITY_USUAL, Apart, Arrange


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What somebody wants. Wants that compare equal are granted in the order they came."""

    ask: Ask
    account: str
    priority: int = PRIORITY_USUAL
    #: Slices on as many devices, all or none.
    count: int = 1
    arrange: Arrange = Arrange.PACK
    #: An elastic slice has `ask.compute_pct` at least and this at most; 0 for one that keeps its size.
    compute_max_pct: int = 0
    #: On the node of this slice.
    near: str = ""
    #: Not on the devices, or nodes, of the account's slices with the same label.
    apart: Apart = Apart.NO
    label: str = ""
    #: Out of this reservation; empty takes one of the account's that suits.
    reservation: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether nothing but one slice's size decides where it may go."""
        return self.count == 1 and not self.near and self.apart is Apart.NO

    @property
    def is_elastic(self) -> bool:
        """Whether its size follows what is idle."""
        return self.compute_max_pct > self.ask.compute_pct


def want_of(request: RequestSlice, tenant: str) -> Want:
    """Return what a request wants. Raises UsageError where its parts contradict each other."""
    ask = Ask(
        compute_pct=request.compute_pct,
        memory_mib=request.memory_mib,
        kind=request.kind,
        tflops=request.tflops,
        models=frozenset(request.models),
        labels=frozenset(request.node_labels.items()),
        at_least=frozenset(request.at_least.items()),
    )
    if bool(ask.compute_pct) == bool(ask.tflops):
        raise UsageError(f"a request says compute or tflops, one of them: {ask.compute_pct} % and {ask.tflops} TFLOPS were asked")
    if request.compute_max_pct and (ask.tflops or request.compute_max_pct < ask.compute_pct):
        raise UsageError(
            f"an elastic request has a least and a most in per cent, not {ask.compute_pct or f'{ask.tflops} TFLOPS'}.."
            f"{request.compute_max_pct}"
        )
    if request.count > 1 and (request.near or request.compute_max_pct):
        raise UsageError("several devices in one request are neither near a slice nor elastic: ask for those one by one")
    if request.apart is not Apart.NO and not request.label:
        raise UsageError("apart= keeps slices of one label from each other: give the request a label")
    return Want(
        ask=ask,
        account=account_of(tenant, request.project),
        priority=request.priority,
        count=request.count,
        arrange=request.arrange,
        compute_max_pct=request.compute_max_pct,
        near=request.near,
        apart=request.apart,
        label=request.label if request.apart is not Apart.NO else "",
        reservation=request.reservation,
    )
