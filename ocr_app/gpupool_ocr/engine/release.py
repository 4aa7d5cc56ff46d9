"""A snapshot made real: every plan bound to open models and running plug-ins. Releases share what they have in common.

Snapshot ──Workshop.build──> Release ──plan(bid, tid)──> BoundPlan
   number 7                    │ retired ──> what no other release uses is closed
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gpupool_ocr.engine.choosing import StepLimits
from gpupool_ocr.engine.lanes import BoundStep, Lanes, Watcher
from gpupool_ocr.engine.model_files import ModelFile, load_model
from gpupool_ocr.engine.running import BoundPlan
from gpupool_ocr.plans.resolve import Plan, find_algorithm, resolve_all
from gpupool_ocr.plans.spec import PluginSpec, Snapshot, StepSpec
from gpupool_ocr.plugins.process import PluginGroup
from gpupool_ocr.sessions import Session, SessionFactory
from gpupool_ocr.steps.plugin import PluginStep
from gpupool_ocr.steps.reading import Detect, Order, Orient, Recognize, Reread
from gpupool_ocr.steps.step import Step

#: The kinds of step that run a model.
_OF_MODELS: dict[str, Callable[[Session], Step]] = {"detect": Detect, "recognize": Recognize, "orient": Orient, "reread": Reread}


@dataclass(frozen=True, slots=True)
class Release:
    """A snapshot that pages can be read with."""

    #: Number of the snapshot.
    number: int
    #: Tells it from another opening of the same snapshot.
    key: int
    snapshot: Snapshot
    plans: Mapping[tuple[str, str], BoundPlan]

    def plan(self, bid: str, tid: str) -> BoundPlan:
        """Return the plan of a business. Raises NotFound."""
        entry = find_algorithm(self.snapshot, bid, tid)
        return self.plans[entry.bid, entry.tid]


@dataclass(slots=True)
class _Part:
    """A model or plug-in that is open, and the releases that hold it."""

    thing: Any
    close: Callable[[], None]
    holders: set[int] = field(default_factory=set)


class Workshop:
    """Opens models and plug-ins once, however many releases and pages use them. Thread-safe."""

    def __init__(
        self, *, gpu: SessionFactory, host: SessionFactory, device: Lanes, cores: Lanes, watcher: Watcher | None = None
    ) -> None:
        self._factories = {"gpu": gpu, "host": host}
        self._lanes = {"gpu": device, "host": cores}
        self._watcher = watcher
        self._parts: dict[str, _Part] = {}
        self._groups: dict[str, PluginGroup] = {}
        self._keys = itertools.count(1)
        self._lock = threading.Lock()

    @property
    def parts(self) -> dict[str, list[int]]:
        """What is open, and which releases hold it."""
        return {key: sorted(part.holders) for key, part in list(self._parts.items())}

    @property
    def plugins(self) -> list[PluginGroup]:
        """The plug-ins that run."""
        return list(self._groups.values())

    def build(self, number: int, snapshot: Snapshot) -> Release:
        """Return a release with everything open. Raises PlanError, ModelError, PluginError; what it opened is closed then."""
        with self._lock:
            key = next(self._keys)
            try:
                plans = {who: self._bind(key, number, snapshot, plan) for who, plan in resolve_all(snapshot).items()}
            except BaseException:
                self._let_go(key)
                raise
            return Release(number, key, snapshot, plans)

    def retire(self, key: int) -> None:
        """Close what only the release of this key held."""
        with self._lock:
            self._let_go(key)

    def close(self) -> None:
        """Close everything."""
        with self._lock:
            for key in {holder for part in self._parts.values() for holder in part.holders}:
                self._let_go(key)

    def _bind(self, key: int, number: int, snapshot: Snapshot, plan: Plan) -> BoundPlan:
        steps: dict[str, BoundStep] = {}
        lanes: dict[str, Lanes] = {}
        versions: dict[str, str] = {}
        for name, spec in plan.steps.items():
            step, lanes[name], identity = self._open(key, snapshot, spec, versions)
            steps[name] = BoundStep(
                name=name,
                step=step,
                limits=StepLimits(replicas=spec.replicas, batch=spec.batch),
                depth=plan.graph.depth(name),
                identity=f"{spec.use}:{identity}:{spec.replicas}:{spec.batch}",
                on_error=spec.on_error,
            )
        return BoundPlan(
            name=plan.name,
            release=number,
            key=key,
            graph=plan.graph,
            steps=steps,
            lanes=lanes,
            versions=versions,
            cases=plan.cases,
        )

    def _open(self, holder: int, snapshot: Snapshot, spec: StepSpec, versions: dict[str, str]) -> tuple[Step, Lanes, str]:
        """Return a step, where it runs, and what tells it from other versions."""
        if spec.plugin is not None:
            plugin = snapshot.plugins[spec.plugin]
            versions[spec.plugin] = plugin.version
            group, plugin_lanes, identity = self._plugin(holder, spec.plugin, plugin, spec.replicas or 1)
            return PluginStep(group), plugin_lanes, identity
        if spec.model is None:
            return Order(), self._lanes["host"], "order"
        file = load_model(spec.model, snapshot.models[spec.model])
        versions[spec.model] = file.version
        session = self._session(holder, spec.device, file)
        return _OF_MODELS[spec.use](session), self._lanes[spec.device], f"{spec.device}:{file.sha256}"

    def _session(self, holder: int, device: str, file: ModelFile) -> Session:
        key = f"{file.role} {file.version} on {device}, {file.sha256}"
        if key not in self._parts:
            # A session is closed when the last step that runs it is forgotten.
            self._parts[key] = _Part(self._factories[device].open(file.content), lambda: None)
        self._parts[key].holders.add(holder)
        session: Session = self._parts[key].thing
        return session

    def _plugin(self, holder: int, name: str, spec: PluginSpec, replicas: int) -> tuple[PluginGroup, Lanes, str]:
        key = f"plug-in {name} x{replicas} {msgspec.json.encode(spec).decode()}"
        if key not in self._parts:
            self._parts[key] = self._start_plugin(key, name, spec, replicas)
        self._parts[key].holders.add(holder)
        return *self._parts[key].thing, key

    def _start_plugin(self, key: str, name: str, spec: PluginSpec, replicas: int) -> _Part:
        group = PluginGroup(name, spec, replicas)
        try:
            group.warm()
        except BaseException:
            group.stop()
            raise
        lanes = Lanes(f"plugin-{name}", replicas, watcher=self._watcher)
        self._groups[key] = group

        def close() -> None:
            del self._groups[key]
            lanes.close()
            group.stop()

        return _Part((group, lanes), close)

    def _let_go(self, holder: int) -> None:
        for key, part in list(self._parts.items()):
            part.holders.discard(holder)
            if not part.holders:
                del self._parts[key]
                part.close()
