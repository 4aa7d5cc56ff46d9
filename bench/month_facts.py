"""A month of a pool, as the facts a broker would have journalled: seeded, and valid for a broker to replay.

Nodes of some devices; slices that come, are resized and go; nodes that fall silent and come back, their slices placed again;
use told every ten minutes (a live broker tells it every ten seconds: sixty times as many facts, the same sums); energy likewise.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from gpupool_broker.core import facts as f
from gpupool_broker.core.accounting.calendar import Period
from gpupool_wire.messages import DeviceInfo
from gpupool_wire.units import Hold, Policy

HOUR_MS = 3_600_000
DEVICES_PER_NODE = 8
TOLD_MS = 600_000
#: Watts of a device that idles, and of one that is busy.
IDLE_W, BUSY_W = 62, 310
MODELS = (("null-40", 40_960), ("null-80", 81_920))


@dataclass
class LiveSlice:
    """A slice of the month."""

    slice_id: str
    tenant: str
    policy: Policy
    pct: int
    mib: int
    #: Share of what it holds that it uses, by day; a burst slice may use more than all of it.
    appetite: float
    told_ms: int
    epoch: int = 1


@dataclass
class LiveDevice:
    """A device of the month."""

    node: str
    info: DeviceInfo
    slices: dict[str, LiveSlice] = field(default_factory=dict)
    used_ns: int = 0
    powered_ms: int = 0

    @property
    def free(self) -> tuple[int, int]:
        held = self.slices.values()
        return 100 - sum(one.pct for one in held), self.info.memory_mib - sum(one.mib for one in held)


class Month:
    """Makes the facts of a period, in the order of their time."""

    def __init__(self, period: Period, *, tenants: int, devices: int, seed: int, per_node: int = DEVICES_PER_NODE) -> None:
        self.period = period
        self.random = random.Random(seed)
        self.tenants = [f"team-{n // 2:02}/p{n}" if n % 5 == 0 else f"tenant-{n:02}" for n in range(tenants)]
        self.weights = [1 / (n + 1) for n in range(tenants)]
        self.devices = [self._device(*divmod(n, per_node)) for n in range(devices)]
        self._numbers = itertools.count(1)
        self._order = itertools.count()
        self._agenda: list[tuple[int, int, str, object]] = []

    @staticmethod
    def _device(node: int, number: int) -> LiveDevice:
        model, memory = MODELS[node % len(MODELS)]
        info = DeviceInfo(device=f"null{number}", kind="null", model=model, memory_mib=memory)
        return LiveDevice(f"node-{node:03}", info)

    def facts(self) -> Iterator[f.Fact]:
        """Yield them."""
        start = self.period.start_ms
        yield from self._join_all(start - 2 * HOUR_MS)
        for device in self.devices:
            device.powered_ms = start - HOUR_MS
            self._at(start - HOUR_MS + self.random.randrange(TOLD_MS), "tell", device)
            for _ in range(self.random.randint(1, 4)):
                self._at(start - HOUR_MS + self.random.randrange(3 * HOUR_MS), "come", device)
        for node in sorted({device.node for device in self.devices}):
            if node == "node-000" or self.random.random() < 0.5:
                self._at(start + self.random.randrange(self.period.end_ms - start), "fall", node)
        while self._agenda and self._agenda[0][0] < self.period.end_ms + 2 * HOUR_MS:
            at_ms, _, what, subject = heapq.heappop(self._agenda)
            yield from getattr(self, f"_{what}")(at_ms, subject)

    def _at(self, at_ms: int, what: str, subject: object) -> None:
        heapq.heappush(self._agenda, (at_ms, next(self._order), what, subject))

    def _join_all(self, at_ms: int) -> Iterator[f.Fact]:
        for node in sorted({device.node for device in self.devices}):
            yield self._joined(at_ms, node)

    def _joined(self, at_ms: int, node: str) -> f.Fact:
        infos = [device.info for device in self._of(node)]
        return f.NodeJoined(at_ms=at_ms, node=node, door="tcp://127.0.0.1:1", devices=infos)

    def _come(self, at_ms: int, device: LiveDevice) -> Iterator[f.Fact]:
        """A slice comes, where there is room; when it goes, another comes."""
        free_pct, free_mib = device.free
        pct = self.random.choice((5, 10, 10, 20, 25, 30, 50))
        mib = self.random.choice((2, 4, 8, 16)) * 1024
        self._at(at_ms + int(self.random.expovariate(1 / (30 * HOUR_MS))) + 60_000, "come", device)
        if pct > free_pct or mib > free_mib:
            return
        number = next(self._numbers)
        (tenant,) = self.random.choices(self.tenants, self.weights)
        policy = self.random.choice((Policy.FIXED, Policy.BURST))
        appetite = self.random.choice((0.02, 0.1, 0.5, 0.9, 1.4 if policy is Policy.BURST else 0.97))
        one = LiveSlice(f"s-{number:06}", tenant, policy, pct, mib, appetite, at_ms)
        device.slices[one.slice_id] = one
        yield f.SliceGranted(
            at_ms=at_ms,
            slice_id=one.slice_id,
            epoch=1,
            request_id=f"r-{number}",
            tenant=tenant,
            node=device.node,
            device=device.info.device,
            compute_pct=pct,
            memory_mib=mib,
            policy=policy,
            hold=Hold.HELD,
            waited_ms=int(self.random.lognormvariate(5, 3)) if self.random.random() < 0.4 else 0,
        )
        life = int(self.random.expovariate(1 / (60 * HOUR_MS))) + 1
        self._at(at_ms + life, "go", (device, one))
        if self.random.random() < 0.3:
            self._at(at_ms + self.random.randrange(life), "resize", (device, one))

    def _go(self, at_ms: int, subject: tuple[LiveDevice, LiveSlice]) -> Iterator[f.Fact]:
        device, one = subject
        if one.slice_id in device.slices:
            yield from self._told(at_ms, device, one)
            del device.slices[one.slice_id]
            yield f.SliceEnded(at_ms=at_ms, slice_id=one.slice_id, epoch=one.epoch + 1, how="released")

    def _resize(self, at_ms: int, subject: tuple[LiveDevice, LiveSlice]) -> Iterator[f.Fact]:
        device, one = subject
        free_pct, free_mib = device.free
        pct, mib = self.random.randint(1, 60), self.random.randint(1, 16) * 512
        if one.slice_id in device.slices and pct <= free_pct + one.pct and mib <= free_mib + one.mib:
            one.pct, one.mib, one.epoch = pct, mib, one.epoch + 1
            yield f.SliceResized(at_ms=at_ms, slice_id=one.slice_id, epoch=one.epoch, compute_pct=pct, memory_mib=mib)

    def _fall(self, at_ms: int, node: str) -> Iterator[f.Fact]:
        """A node falls silent; what it held waits until it is back."""
        yield f.NodeLost(at_ms=at_ms, node=node, reason="no beat for 2.5 s")
        mine = self._of(node)
        for device in mine:
            for one in device.slices.values():
                one.epoch += 1
                yield f.SliceStranded(at_ms=at_ms, slice_id=one.slice_id, epoch=one.epoch, reason=f"{node} was lost")
        back_ms = at_ms + self.random.randrange(50_000)
        # Nothing else happens to it meanwhile: whatever was to come waits too.
        self._agenda = [
            (max(when, back_ms + 1) if self._is_of(subject, mine) else when, *rest, subject)
            for when, *rest, subject in self._agenda
        ]
        heapq.heapify(self._agenda)
        self._at(back_ms, "return", node)

    def _return(self, at_ms: int, node: str) -> Iterator[f.Fact]:
        """A node is back, and has its slices again."""
        yield self._joined(at_ms, node)
        for device in self._of(node):
            for one in device.slices.values():
                one.epoch, one.told_ms = one.epoch + 1, at_ms
                yield f.SliceMoved(at_ms=at_ms, slice_id=one.slice_id, epoch=one.epoch, node=node, device=device.info.device)
            device.powered_ms = at_ms

    def _of(self, node: str) -> list[LiveDevice]:
        return [device for device in self.devices if device.node == node]

    @staticmethod
    def _is_of(subject: object, devices: list[LiveDevice]) -> bool:
        device = subject[0] if isinstance(subject, tuple) else subject
        return any(device is mine for mine in devices)

    def _tell(self, at_ms: int, device: LiveDevice) -> Iterator[f.Fact]:
        for one in device.slices.values():
            yield from self._told(at_ms, device, one)
        span_ms = at_ms - device.powered_ms
        energy_mj = IDLE_W * span_ms + (BUSY_W - IDLE_W) * min(device.used_ns // 1_000_000, span_ms)
        noise = self.random.randint(-span_ms, span_ms)
        yield f.DevicePowered(
            at_ms=at_ms, node=device.node, device=device.info.device, span_ms=span_ms, energy_mj=energy_mj + noise
        )
        device.powered_ms, device.used_ns = at_ms, 0
        self._at(at_ms + TOLD_MS, "tell", device)

    def _told(self, at_ms: int, device: LiveDevice, one: LiveSlice) -> Iterator[f.Fact]:
        span_ms = at_ms - one.told_ms
        one.told_ms = at_ms
        hour = at_ms // HOUR_MS % 24
        busy = one.appetite * (1 if 7 <= hour < 19 else 0.3) * self.random.uniform(0.6, 1.0)
        used_ns = int(span_ms * 10_000 * one.pct * busy)
        device.used_ns += used_ns
        if used_ns:
            yield f.SliceUsed(
                at_ms=at_ms,
                slice_id=one.slice_id,
                device_ns=used_ns,
                throttled_ns=0,
                calls=1 + used_ns // 10**7,
                span_ms=span_ms,
            )
