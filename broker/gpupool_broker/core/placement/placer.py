"""The pool's placement: an index of what is free, kept as devices change, that answers without looking at every device.

    seen(ask) ──> workload ──(every 200 requests)──> fragmentation table
    changed(device) ──> views          place(ask) ──> view of its needs ──> the best of at most 101 levels ──> Plan | NoRoom

`place` changes nothing; whoever applies a plan says `changed`. `scan.place` gives the same answers from a snapshot.
"""

from __future__ import annotations

from collections import OrderedDict
from random import Random

from gpupool_broker.core.placement.asks import WHOLE_PCT, Ask, Needs, NoRoom, Plan, meets, rating_of
from gpupool_broker.core.placement.policies import DEFAULT_POLICY, POLICIES, Order
from gpupool_broker.core.placement.refusals import explain, offer_mib
from gpupool_broker.core.placement.scan import refuse
from gpupool_broker.core.placement.view import Choice, Rest, View, rest_of
from gpupool_broker.core.placement.workload import Workload
from gpupool_broker.core.state import Device, Node

#: Views kept: one for every set of needs asked for lately. Each costs a change of a device about a microsecond.
MAX_VIEWS = 64

Key = tuple[str, str]
#: Views to look at, each with the needs its devices meet.
Where = list[tuple[Needs, View]]


class Placer:
    """What is free on every device that is up, and where the next request goes."""

    def __init__(self, policy: str = DEFAULT_POLICY, workload: Workload | None = None, rng: Random | None = None) -> None:
        """Start with no devices. Raises KeyError where there is no such policy."""
        self.policy = POLICIES[policy]
        self.workload = workload or Workload()
        self._rng = rng or Random(0)  # noqa: S311 (chooses among equals; nothing secret)
        self._devices: dict[Key, Device] = {}
        #: What the views hold of each device: the index may be older than the device until `changed` is called.
        self._held: dict[Key, tuple[int, Rest]] = {}
        self._labels: dict[str, dict[str, str]] = {}
        self._of_node: dict[str, tuple[Key, ...]] = {}
        #: TFLOPS → how many devices say they have that many.
        self._ratings: dict[int, int] = {}
        self._views: OrderedDict[Needs, View] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Placer, {len(self._devices)} devices on {len(self._labels)} nodes, {len(self._views)} views>"

    # ── what is there ──────

    def add(self, node: Node) -> None:
        """Take in a node that is up, with its devices as they are; what was known of it is forgotten."""
        self.remove(node.node)
        self._labels[node.node] = node.labels
        self._of_node[node.node] = tuple((node.node, name) for name in node.devices)
        for key, device in zip(self._of_node[node.node], node.devices.values(), strict=True):
            self._devices[key] = device
            self._held[key] = device.open_pct, rest_of(device)
            self._count(device, 1)
            for view in self._views_of(device):
                view.join(device, *self._held[key])

    def remove(self, node: str) -> None:
        """Let go of a node; nothing happens where it is not known."""
        if node not in self._labels:
            return
        for key in self._of_node.pop(node):
            device = self._devices.pop(key)
            held = self._held.pop(key)
            self._count(device, -1)
            for view in self._views_of(device):
                view.leave(device, *held)
        del self._labels[node]

    def changed(self, device: Device) -> None:
        """Say that what is free on a device is different now; nothing happens where its node is not known."""
        key = (device.node, device.info.device)
        if key not in self._held:
            return
        old, new = self._held[key], (device.open_pct, rest_of(device))
        self._held[key] = new
        for view in self._views_of(device):
            view.move(old, new)

    # ── what is asked ──────

    def follow(self, policy: str) -> None:
        """Choose by another policy from now on. Raises KeyError where there is no such policy."""
        self.policy = POLICIES[policy]

    def seen(self, ask: Ask) -> None:
        """Learn from a request that came in: once each, however often it is tried."""
        fastest = max(self._ratings, default=0) if ask.tflops else 0
        self.workload.saw(min(WHOLE_PCT, ask.share_pct(fastest)), ask.memory_mib)

    def place(self, ask: Ask) -> Plan | NoRoom:
        """Return where `ask` goes, or why nowhere."""
        return self.find(ask) or self._explain(ask)

    def find(self, ask: Ask) -> Plan | None:
        """Return where `ask` goes; None where nowhere, without the cost of saying why."""
        where = self._where(ask)
        # What must not be seen is taken out of the views while they are asked.
        avoided = self._avoided(ask, where) if ask.avoid_nodes or ask.avoid_devices else []
        for view, held in avoided:
            view.take_out(*held)
        try:
            return (self._draw if self.policy.order is Order.RANDOM else self._choose)(ask, where)
        finally:
            for view, held in avoided:
                view.put_back(*held)

    def nearest(self, ask: Ask, at_most: int) -> list[tuple[int, Device]]:
        """Return the devices that come nearest to having room for a request, most compute free first, each with its share.

        Only those that could host it when empty.
        """
        found: list[tuple[int, Device]] = []
        for needs, view in self._where(ask):
            share = ask.share_pct(needs[-1])
            rows = (rest for level in reversed(view.levels) for rest in reversed(level))
            for _, node, name, _ in rows:
                device = self._devices[node, name]
                if not ask.avoids(node, name) and ask.memory_mib <= offer_mib(device):
                    found.append((share, device))
                if len(found) == at_most:
                    return found
        return found

    def _choose(self, ask: Ask, where: Where) -> Plan | None:
        best: tuple[Choice, int] | None = None
        for needs, view in where:
            share = ask.share_pct(needs[-1])
            choice = view.best(self.policy, self.workload, share, ask.memory_mib)
            if choice and (best is None or choice < best[0]):
                best = choice, share
        if best is None:
            return None
        (*_, node, device), share = best
        return Plan(node=node, device=device, compute_pct=share)

    def _draw(self, ask: Ask, where: Where) -> Plan | None:
        shares = [(ask.share_pct(needs[-1]), view) for needs, view in where]
        parts = [(share, first, level) for share, view in shares for first, level in view.fitting(share, ask.memory_mib)]
        number = sum(len(level) - first for _, first, level in parts)
        if not number:
            return None
        chosen = self._rng.randrange(number)
        for share, first, level in parts:
            if chosen < len(level) - first:
                _, node, device, _ = level[first + chosen]
                return Plan(node=node, device=device, compute_pct=share)
            chosen -= len(level) - first
        raise AssertionError("the levels hold as many devices as were counted")

    def _avoided(self, ask: Ask, where: Where) -> list[tuple[View, tuple[int, Rest]]]:
        keys = {key for node in ask.avoid_nodes for key in self._of_node.get(node, ())} | (ask.avoid_devices & self._held.keys())
        if ask.node:
            return []  # the view of one node is made for the request, without them
        pairs = [(needs, view, key) for needs, view in where for key in keys]
        return [(view, self._held[key]) for needs, view, key in pairs if meets(needs, self._devices[key], self._labels[key[0]])]

    def _explain(self, ask: Ask) -> NoRoom:
        if ask.tflops or ask.avoid_nodes or ask.avoid_devices or ask.node:
            return refuse(ask, self._devices.values(), self._labels)
        view = self._view(ask.needs())
        roomiest = view.roomiest(ask.compute_pct)
        if roomiest is None:
            return explain(ask, None, None)
        return explain(ask, self._devices[view.largest()], (ask.compute_pct, self._devices[roomiest]))

    # ── the views ──────

    def _where(self, ask: Ask) -> Where:
        """Return the views with places for `ask`: one for each speed of device where it asks for TFLOPS, as its share differs."""
        ratings = [0]
        if ask.tflops:
            ratings = [rating for rating in sorted(self._ratings, reverse=True) if ask.share_pct(rating) <= WHOLE_PCT]
        every_needs = [ask.needs(rating) for rating in ratings]
        return [(needs, self._view_of_node(needs, ask) if ask.node else self._view(needs)) for needs in every_needs]

    def _view_of_node(self, needs: Needs, ask: Ask) -> View:
        view = View()
        for key in self._of_node.get(ask.node or "", ()):
            if meets(needs, self._devices[key], self._labels[key[0]]) and not ask.avoids(*key):
                view.join(self._devices[key], *self._held[key])
        return view

    def _view(self, needs: Needs) -> View:
        view = self._views.get(needs)
        if view is None:
            view = self._views[needs] = View()
            for key, device in self._devices.items():
                if meets(needs, device, self._labels[device.node]):
                    view.join(device, *self._held[key])
            if len(self._views) > MAX_VIEWS:
                self._views.popitem(last=False)
        else:
            self._views.move_to_end(needs)
        return view

    def _views_of(self, device: Device) -> list[View]:
        labels = self._labels[device.node]
        return [view for needs, view in self._views.items() if meets(needs, device, labels)]

    def _count(self, device: Device, by: int) -> None:
        if rating := rating_of({**self._labels[device.node], **device.info.labels}):
            self._ratings[rating] = self._ratings.get(rating, 0) + by
            if not self._ratings[rating]:
                del self._ratings[rating]
