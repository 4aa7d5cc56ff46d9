"""What is on a page, worked out of REST's JSON: pure, so that it can be tested without a browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gpupool_web.rest import Json
from gpupool_web.theme import colour_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One number of the overview: what is given out of what there is."""

    title: str
    used: int
    total: int
    text: str

    @property
    def fraction(self) -> float:
        """Used over total, 0 where there is nothing."""
        return self.used / self.total if self.total else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A slice as a part of its device's bar."""

    label: str
    title: str
    #: Per cent of the bar.
    width: float
    colour: str


def memory_text(mib: float) -> str:
    """Return memory for people: 512 MiB, 1.5 GiB, 12 GiB."""
    if mib < 1024:
        return f"{mib:g} MiB"
    return f"{mib / 1024:.1f}".removesuffix(".0") + " GiB"


def share_text(mib: float, of_mib: float) -> str:
    """Return a part of some memory, with the unit once where it is the same: 1.5 of 12 GiB."""
    part, whole = memory_text(mib), memory_text(of_mib)
    unit = whole.rpartition(" ")[2]
    return f"{part.removesuffix(f' {unit}')} of {whole}"


def seconds_text(seconds: float) -> str:
    """Return a span for people: 45 s, 12 min, 3 h 5 min, 2 d 4 h."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def age_text(created_at: str, now: datetime) -> str:
    """Return how long ago an RFC 3339 time was."""
    return seconds_text((now - datetime.fromisoformat(created_at)).total_seconds())


def utc_now() -> datetime:
    """Return now, as ages are counted from."""
    return datetime.now(UTC)


def overview(nodes: Sequence[Json], devices: Sequence[Json], slices: Sequence[Json]) -> list[Figure]:
    """Return the figures at the top of the overview. Devices of lost nodes offer nothing."""
    up = [device for device in devices if device["state"] != "lost"]
    compute = sum(device["compute_allocated_pct"] for device in up)
    memory, offered = sum(device["memory_allocated_mib"] for device in up), sum(device["memory_mib"] for device in up)
    nodes_up = sum(node["state"] != "lost" for node in nodes)
    live = sum(slice_["state"] == "live" for slice_ in slices)
    return [
        Figure(title="Nodes up", used=nodes_up, total=len(nodes), text=f"{nodes_up} of {len(nodes)}"),
        Figure(title="Devices up", used=len(up), total=len(devices), text=f"{len(up)} of {len(devices)}"),
        Figure(title="Compute allocated", used=compute, total=100 * len(up), text=f"{compute} % of {100 * len(up)} %"),
        _busy(up),
        Figure(title="Memory allocated", used=memory, total=offered, text=share_text(memory, offered)),
        Figure(title="Slices live", used=live, total=len(slices), text=f"{live}"),
    ]


def _busy(up: Sequence[Json]) -> Figure:
    """Return what devices did in the last ten seconds, against what they could have done."""
    busy = sum(device["busy_pct"] for device in up)
    return Figure(title="Compute in use", used=round(busy), total=100 * len(up), text=f"{busy:.0f} % of {100 * len(up)} %")


def compute_segments(device: Json, slices: Sequence[Json]) -> list[Segment]:
    """Return the bar of a device's compute."""
    return [_segment(slice_, float(slice_["compute_pct"])) for slice_ in _on(device, slices)]


def busy_segments(device: Json, slices: Sequence[Json]) -> list[Segment]:
    """Return the bar of what a device did in the last ten seconds, and for whom."""
    return [_segment(slice_, slice_["achieved_10s_pct"]) for slice_ in _on(device, slices) if slice_["achieved_10s_pct"]]


def memory_segments(device: Json, slices: Sequence[Json]) -> list[Segment]:
    """Return the bar of a device's memory."""
    return [_segment(slice_, 100 * slice_["memory_mib"] / device["memory_mib"]) for slice_ in _on(device, slices)]


def _on(device: Json, slices: Sequence[Json]) -> list[Json]:
    here = (device["node"], device["device"])
    return [slice_ for slice_ in slices if slice_["state"] == "live" and (slice_["node"], slice_["device"]) == here]


def _segment(slice_: Json, width: float) -> Segment:
    had = f"had {slice_['achieved_10s_pct']:.1f} % in 10 s"
    what = f"{slice_['compute_pct']} % {slice_['policy']} ({had}), {memory_text(slice_['memory_mib'])}"
    return Segment(
        label=slice_["tenant"],
        title=f"{slice_['slice_id']} · {slice_['tenant']} · {what}",
        width=width,
        colour=colour_of(slice_["tenant"]),
    )


def slice_rows(slices: Sequence[Json], now: datetime) -> list[Json]:
    """Return the rows of the slices' table, newest first."""
    newest_first = sorted(slices, key=lambda slice_: slice_["created_at"], reverse=True)
    return [
        {
            "slice_id": slice_["slice_id"],
            "tenant": slice_["tenant"],
            "place": f"{slice_['node']} / {slice_['device']}",
            "kind": slice_["kind"],
            "compute": f"{slice_['compute_pct']} %",
            "achieved": f"{slice_['achieved_10s_pct']:.1f} %",
            "policy": slice_["policy"],
            "memory": memory_text(slice_["memory_mib"]),
            "used": f"{slice_['device_ms'] / 1000:.2f} s",
            "throttled": f"{slice_['throttled_ms'] / 1000:.2f} s",
            "calls": slice_["calls"],
            "state": slice_["state"],
            "hold": slice_["hold"],
            "age": age_text(slice_["created_at"], now),
            "label": slice_["label"] or slice_["holder"],
        }
        for slice_ in newest_first
    ]
