"""Whether a request can be granted now, and where: its account's quota, the reservations, the room there is.

    want ──> a reservation of its account that is open ──> quota ──> placement, not where room is kept for others ──> places

Reads the books and changes nothing. What is refused says with which numbers; `HasNoRoom` is what waiting can help.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from gpupool_broker.core.lives import Lives
from gpupool_broker.core.placement import Ask, NoRoom, Plan, place_gang
from gpupool_broker.core.state import Device, Node, Slice, SliceState
from gpupool_broker.core.wants import Want
from gpupool_wire.errors import Detail, NotFound, SliceRefused
from gpupool_wire.units import Apart


class HasNoRoom(SliceRefused):
    """The quota allows it, and no device has room now."""

    def __init__(self, why: str, *, way_out: str = "", can_ever_fit: bool = True, **details: Detail) -> None:
        super().__init__(f"{why}: {way_out}" if way_out else why, can_ever_fit=can_ever_fit, **details)
        #: The message without the way out, which who waits has taken already.
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Devices kept for the request that is ahead of all others and has no room, so that smaller ones do not starve it."""

    request_id: str
    devices: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one slice of a request goes."""

    plan: Plan
    #: The reserved room it takes.
    reserved: Slice | None = None


class Admission(Lives):
    """The books, and what they have room for."""

    claim: Claim | None = None

    def admit(self, want: Want, at_ms: int, request_id: str = "", *, goes_first: bool = False) -> list[Place]:
        """Return where a want goes.

        Raises HasNoRoom, SliceRefused where the quota has no room, NotFound for a slice or reservation that is not there.
        `goes_first`: it comes before the request that devices are kept for.
        """
        if reserved := self._reserved_places(want, at_ms):
            return reserved
        ask = self.constrained(want)
        compute = ask.compute_pct or 1
        self.quotas.check(want.account, compute * want.count, ask.memory_mib * want.count, want.count)
        kept = self.claim if self.claim and self.claim.request_id != request_id and not goes_first else None
        plans = self._plans(want, ask, kept)
        if ask.tflops:
            self.quotas.check(want.account, sum(plan.compute_pct for plan in plans), 0, 0)
        return [Place(plan=plan) for plan in plans]

    def _plans(self, want: Want, ask: Ask, kept: Claim | None) -> list[Plan]:
        if kept is not None:
            found = self._look(want, dataclasses.replace(ask, avoid_devices=ask.avoid_devices | kept.devices))
            if not isinstance(found, NoRoom):
                return found
        plain = self._explained(want, ask)
        if isinstance(plain, NoRoom):
            raise HasNoRoom(plain.message, way_out=plain.way_out, can_ever_fit=plain.can_ever_fit, **plain.details)
        if kept is None:
            return plain
        where = ", ".join(f"{plan.device} on {plan.node}" for plan in plain[:3])
        raise HasNoRoom(f"{where} would have room, but is kept for request {kept.request_id}, which is ahead")

    def _look(self, want: Want, ask: Ask) -> list[Plan] | NoRoom:
        if want.count > 1:
            return place_gang(ask, want.count, want.arrange, self._open_nodes())
        plan = self.placer.find(ask)
        return [plan] if plan is not None else NoRoom(message="", details={}, can_ever_fit=True)

    def _explained(self, want: Want, ask: Ask) -> list[Plan] | NoRoom:
        if want.count > 1:
            return place_gang(ask, want.count, want.arrange, self._open_nodes())
        plan = self.placer.place(ask)
        return [plan] if isinstance(plan, Plan) else plan

    def constrained(self, want: Want) -> Ask:
        """Return what placement is asked for, with `near` and `apart` turned into nodes and devices.

        Raises NotFound where `near` names no live slice of the tenant.
        """
        ask = want.ask
        if want.near:
            beside = self.slices.get(want.near)
            if beside is None or beside.tenant != want.account.partition("/")[0] or beside.state is not SliceState.LIVE:
                raise NotFound(f"there is no live slice {want.near[:64]} to be near to", slice_id=want.near[:64])
            ask = dataclasses.replace(ask, node=beside.node)
        if want.apart is not Apart.NO:
            others = [self.slices[i] for i in self.labelled.get((want.account, want.label), ())]
            if want.apart is Apart.NODE:
                return dataclasses.replace(ask, avoid_nodes=frozenset(other.node for other in others))
            return dataclasses.replace(ask, avoid_devices=frozenset((other.node, other.device) for other in others))
        return ask

    def claimable(self, want: Want) -> frozenset[tuple[str, str]]:
        """Return the devices that come nearest to having room for a request: what may be kept for it."""
        try:
            spots = self.placer.nearest(self.constrained(want), want.count)
        except NotFound:
            return frozenset()
        return frozenset((device.node, device.info.device) for _, device in spots)

    def _open_nodes(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.takes_slices]

    # ── reservations ──────

    def _reserved_places(self, want: Want, at_ms: int) -> list[Place] | None:
        """Return reserved room that a want may take, if there is enough of it."""
        if want.reservation and want.reservation not in self.reservations:
            raise NotFound(f"there is no reservation {want.reservation[:64]} (any more)", reservation=want.reservation[:64])
        for reservation in self.reservations.values():
            if want.reservation not in ("", reservation.reservation_id) or reservation.account != want.account:
                continue
            if not reservation.start_ms <= at_ms < reservation.end_ms:
                continue
            kept = (self.slices[i] for i in sorted(self.reserved.get(reservation.reservation_id, ())))
            by_device = {(s.node, s.device): s for s in kept if s.state is SliceState.RESERVED and self._is_enough(s, want)}
            if len(by_device) >= want.count:
                chosen = list(by_device.values())[: want.count]
                return [Place(plan=self._as_plan(slice_, want), reserved=slice_) for slice_ in chosen]
        if want.reservation:
            reservation = self.reservations[want.reservation]
            raise HasNoRoom(f"reservation {want.reservation} of {reservation.account} has no room for {want.account} now")
        return None

    def _is_enough(self, kept: Slice, want: Want) -> bool:
        ask = want.ask
        is_enough = ask.compute_pct <= kept.compute_pct and ask.memory_mib <= kept.memory_mib and not ask.tflops
        return is_enough and ask.suits(self._device_of(kept))

    @staticmethod
    def _as_plan(kept: Slice, want: Want) -> Plan:
        return Plan(node=kept.node, device=kept.device, compute_pct=want.ask.compute_pct)

    def device_at(self, plan: Plan) -> Device:
        """Return the device of a plan."""
        return self.nodes[plan.node].devices[plan.device]
