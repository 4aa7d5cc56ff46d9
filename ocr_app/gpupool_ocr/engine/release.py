"""A snapshot made real: every plan bound to open models and running plug-ins. Releases share what they have in common.

Snapshot ──Workshop.build──> Release ──plan(bid, tid)──> BoundPlan
   number 7                    │ retired ──> what no other release uses is closed
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from gpupool_ocr.engine.choosing import StepLimits
from gpupool_ocr.engine.lanes import BoundStep, Lanes, Watcher
from gpupool_ocr.engine.model_files import ModelFile, load_model
from gpupool_ocr.engine.running import BoundPlan
from gpupool_ocr.engine.shelf import Part, Shelf
from gpupool_ocr.engine.spreading import Spread
from gpupool_ocr.plans.resolve import Plan, find_algorithm, resolve_all
from gpupool_ocr.plans.spec import PluginSpec, SlicesSpec, Snapshot, StepSpec
from gpupool_ocr.plugins.process import PluginGroup
from gpupool_ocr.sessions import HeldSlice, Session, SessionFactory, SliceSource, SliceWish
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


class Workshop:
    """Opens models and plug-ins once, however many releases and pages use them. Thread-safe."""

    def __init__(
        self,
        *,
        gpu: SliceSource,
        host: SessionFactory,
        device: Lanes,
        cores: Lanes,
        watcher: Watcher | None = None,
        pages_wait: Callable[[], bool] = lambda: False,
    ) -> None:
        self._pool = gpu
        self._factories: dict[str, SessionFactory] = {"gpu": gpu, "host": host}
        self._lanes = {"gpu": device, "host": cores}
        self._watcher = watcher
        self._pages_wait = pages_wait
        self._shelf = Shelf()
        self._groups: dict[str, PluginGroup] = {}
        self._keys = itertools.count(1)
        self._lock = threading.Lock()

    @property
    def parts(self) -> dict[str, list[int]]:
        """What is open, and which releases hold it."""
        return self._shelf.holders

    @property
    def plugins(self) -> list[PluginGroup]:
        """The plug-ins that run."""
        return list(self._groups.values())

    @property
    def slices(self) -> dict[str, str]:
        """The slices that snapshots asked for, and where each is."""
        return {key: thing.where for key, thing in self._shelf.things.items() if isinstance(thing, HeldSlice)}

    def build(self, number: int, snapshot: Snapshot) -> Release:
        """Return a release with everything open. Raises PlanError, ModelError, PluginError; what it opened is closed then."""
        with self._lock:
            key = next(self._keys)
            try:
                plans = {who: self._bind(key, number, snapshot, plan) for who, plan in resolve_all(snapshot).items()}
            except BaseException:
                self._shelf.let_go(key)
                raise
            return Release(number, key, snapshot, plans)

    def retire(self, key: int) -> None:
        """Close what only the release of this key held."""
        with self._lock:
            self._shelf.let_go(key)

    def close(self) -> None:
        """Close everything."""
        with self._lock:
            self._shelf.clear()

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
        if spec.slices is not None:
            session, lanes, identity = self._spread(holder, spec.slices, snapshot.slices[spec.slices], file)
            return _OF_MODELS[spec.use](session), lanes, f"{identity}:{file.sha256}"
        session = self._session(holder, spec.device, self._factories[spec.device], file)
        return _OF_MODELS[spec.use](session), self._lanes[spec.device], f"{spec.device}:{file.sha256}"

    def _session(self, holder: int, where: str, factory: SessionFactory, file: ModelFile) -> Session:
        # A session is closed when the last step that runs it is forgotten.
        key = f"{file.role} {file.version} on {where}, {file.sha256}"
        session: Session = self._shelf.hold(holder, key, lambda: Part(factory.open(file.content), lambda: None))
        return session

    def _spread(self, holder: int, name: str, spec: SlicesSpec, file: ModelFile) -> tuple[Session, Lanes, str]:
        """Return a model on every slice of a group, and the group's lanes. A group that grows keeps the slices it has."""
        size = f"{spec.compute} % and {spec.memory}" + "".join(f", {key}={value}" for key, value in spec.labels.items())
        kind = f"{size}, {' or '.join(spec.gpus)}" if spec.gpus else size
        replicas = []
        for number in range(1, spec.replicas + 1):
            key = f"slice {name} {number}: {kind}"
            held: HeldSlice = self._shelf.hold(holder, key, lambda number=number: self._take(name, number, spec))  # type: ignore[misc]
            replicas.append(self._session(holder, key, held.factory, file))
        threads = spec.replicas * spec.lanes
        key = f"lanes of {spec.replicas} slices {name}: {kind}, {spec.lanes} each"
        lanes: Lanes = self._shelf.hold(holder, key, lambda: self._more_lanes(name, threads))
        return Spread(replicas), lanes, key

    def _take(self, name: str, number: int, spec: SlicesSpec) -> Part:
        label = f"ocr-{name}-{number}"
        wish = SliceWish(label=label, compute=spec.compute, memory=spec.memory, labels=spec.labels, gpus=spec.gpus)
        held = self._pool.hold(wish)
        return Part(held, held.release)

    def _more_lanes(self, name: str, threads: int) -> Part:
        lanes = Lanes(f"slices-{name}", threads, pages_wait=self._pages_wait, watcher=self._watcher)
        return Part(lanes, lanes.close)

    def _plugin(self, holder: int, name: str, spec: PluginSpec, replicas: int) -> tuple[PluginGroup, Lanes, str]:
        key = f"plug-in {name} x{replicas} {msgspec.json.encode(spec).decode()}"
        group, lanes = self._shelf.hold(holder, key, lambda: self._start_plugin(key, name, spec, replicas))
        return group, lanes, key

    def _start_plugin(self, key: str, name: str, spec: PluginSpec, replicas: int) -> Part:
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

        return Part((group, lanes), close)
