"""What is asked of placement, and what it answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gpupool_broker.core.state import Device

#: A device of this kind computes nothing: it is given only to who asks for it by name.
NULL_KIND = "null"
#: A device's free compute when nobody holds anything of it (per cent).
WHOLE_PCT = 100
#: Under this label a device says how fast it is (TFLOPS, whole), so that a request may ask for TFLOPS instead of per cent.
TFLOPS_LABEL = "tflops"

Details = dict[str, str | int | float | bool | None]
#: What a device must be, apart from having room; requests with equal needs share a view of the pool.
Needs = tuple[str | None, frozenset[str], frozenset[tuple[str, str]], frozenset[tuple[str, str]], int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """What has to be placed."""

    #: Share of a device; 0 where `tflops` says it instead.
    compute_pct: int
    memory_mib: int
    kind: str | None = None
    #: The request in normalised units: each device's share is worked out from its label `tflops`, rounded up to a whole per cent.
    tflops: int = 0
    #: Any of these GPU models; empty takes any.
    models: frozenset[str] = frozenset()
    #: Labels of device or node that must be as given.
    labels: frozenset[tuple[str, str]] = frozenset()
    #: Labels that are versions and must be at least this: driver, compute_capability.
    at_least: frozenset[tuple[str, str]] = frozenset()
    #: The same node as something placed before.
    node: str | None = None
    #: Anti-affinity: none of these nodes, none of these (node, device).
    avoid_nodes: frozenset[str] = frozenset()
    avoid_devices: frozenset[tuple[str, str]] = frozenset()

    def needs(self, rating: int = 0) -> Needs:
        """Return what a device must be; with `rating`, only devices of that many TFLOPS."""
        return self.kind, self.models, self.labels, self.at_least, rating

    def avoids(self, node: str, device: str) -> bool:
        """Whether this request must not go there whatever is free."""
        return node in self.avoid_nodes or (node, device) in self.avoid_devices or (self.node is not None and node != self.node)

    def share_pct(self, rating: int) -> int:
        """What it takes of a device of that many TFLOPS; more than 100 where the device is too slow."""
        return self.compute_pct if not self.tflops else -(-self.tflops * WHOLE_PCT // rating) if rating else WHOLE_PCT + 1

    def suits(self, device: Device) -> bool:
        """Whether the device is of a kind this request takes."""
        return meets(self.needs(), device, {})

    def fits(self, device: Device) -> bool:
        """Whether the device has room."""
        return self.compute_pct <= device.open_pct and device.booked_mib(self.memory_mib) <= device.memory_free_mib


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The place a request gets."""

    node: str
    device: str
    #: The share it takes there, which depends on the device where TFLOPS were asked for.
    compute_pct: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class NoRoom:
    """Why a request gets none, with the numbers compared."""

    message: str
    details: Details
    #: Whether an empty pool of these devices could host it.
    can_ever_fit: bool
    #: What whoever is refused can do about it.
    way_out: str = ""


def meets(needs: Needs, device: Device, node_labels: Mapping[str, str]) -> bool:
    """Whether a device is what `needs` say; its own labels go before its node's."""
    kind, models, wanted, at_least, rating = needs
    if device.info.kind != kind if kind else device.info.kind == NULL_KIND:
        return False
    if models and device.info.model not in models:
        return False
    if not (wanted or at_least or rating):
        return True
    labels = {**node_labels, **device.info.labels}
    if rating and rating_of(labels) != rating:
        return False
    if any(labels.get(name) != value for name, value in wanted):
        return False
    return all(name in labels and version(labels[name]) >= version(least) for name, least in at_least)


def rating_of(labels: Mapping[str, str]) -> int:
    """Return the TFLOPS a device says it has; 0 where it says nothing that is a whole number."""
    value = labels.get(TFLOPS_LABEL, "")
    return int(value) if value.isascii() and value.isdigit() else 0


def version(text: str) -> tuple[int, ...]:
    """Return the numbers of a version, so that 8.10 comes after 8.9 and 535.104 after 535.54."""
    return tuple(int(number) for number in re.findall(r"[0-9]+", text))
