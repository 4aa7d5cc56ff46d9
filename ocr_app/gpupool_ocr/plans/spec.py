"""The static snapshot: which models, plug-ins and plans there shall be, and which business gets which plan.

Unknown keys are refused where the YAML is read (see reading.py), so a slip of the pen is an error, never a default.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gpupool_ocr.cases.case import DOUBTFUL_SCORE, DOUBTFUL_SHARE

#: Names travel in addresses, metrics and file names.
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
#: A business or a kind of algorithm; `*` stands for every business.
Key = Annotated[str, Meta(pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9_.-]{0,63})$")]
Replicas = Annotated[int, Meta(ge=1, le=64)]
Seconds = Annotated[float, Meta(gt=0, le=600)]
Device = Literal["gpu", "host"]
OnError = Literal["fail", "skip"]

#: Any business.
ANYBODY = "*"


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model and where its file is."""

    role: Literal["detection", "recognition", "direction"]
    #: "packaged" for the one of rapidocr's wheel, else a path to an ONNX file on the service's host.
    source: str = "packaged"
    #: What people call this version; answers carry it with the first digits of the file's hash.
    version: str = "1"
    #: The file's hash in hex, where another file than the meant one must be refused.
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")] | None = None


class PluginSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Python function that gets a page's lines, run in a process of its own."""

    #: "module:function", or the name of an entry point in the group "gpupool.ocr.plugins".
    call: Annotated[str, Meta(min_length=1, max_length=200)]
    version: str = "1"
    #: A call that takes longer is stopped with its process.
    timeout_s: Seconds = 10.0
    #: Address space of the process beyond what Python and its libraries take at its start (MiB).
    memory_mib: Annotated[int, Meta(ge=16, le=65_536)] = 1024
    #: Whether it gets the page's image, which costs a copy.
    wants_image: bool = False
    options: dict[str, Any] = {}


class SlicesSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of equal slices of the pool that steps run on. Every instance holds them, each with its own copy of the weights."""

    replicas: Replicas = 1
    #: Of each: per cent of a device, and memory.
    compute: Annotated[int, Meta(ge=1, le=100)] = 100
    memory: str = "2GiB"
    #: Labels of device or node, and GPU models of which it must be one.
    labels: dict[str, str] = {}
    gpus: list[str] = []
    #: Calls at the same time on each: one is executed while the other travels.
    lanes: Annotated[int, Meta(ge=1, le=16)] = 2


class StepSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step of a plan."""

    #: A kind of step, see kinds.py.
    use: str
    model: str | None = None
    plugin: str | None = None
    #: Names of the steps before it; left out, it is the one written above it.
    after: list[str] | None = None
    #: "gpu" runs the model on the slice, "host" on this machine's CPU.
    device: Device = "gpu"
    #: The group of slices it runs on; left out, the slice that the service was started with.
    slices: str | None = None
    #: How many calls of it run at the same time, over all pages; left out, as many as there are lanes.
    replicas: Replicas | None = None
    #: Up to so many calls of equal shape, of whatever pages, travel as one.
    batch: Replicas = 1
    #: What becomes of the page where the step fails: it fails, or goes on without what the step gives.
    on_error: OnError = "fail"


class StepOverride(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a business wants different about one step of a shared plan."""

    use: str | UnsetType = UNSET
    model: str | UnsetType | None = UNSET
    plugin: str | UnsetType | None = UNSET
    device: Device | UnsetType = UNSET
    slices: str | UnsetType | None = UNSET
    replicas: Replicas | UnsetType = UNSET
    batch: Replicas | UnsetType = UNSET
    on_error: OnError | UnsetType = UNSET


class CasesSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which pages of a plan are kept to learn from; without it, what the service was started with says."""

    keep: bool = True
    #: A line read with less is in doubt; a page with this share of such lines, and one at least, is kept.
    below: Annotated[float, Meta(ge=0, le=1)] = DOUBTFUL_SCORE
    share: Annotated[float, Meta(ge=0, le=1)] = DOUBTFUL_SHARE
    #: Fields that are taken out first, beside those the service takes out.
    redact: list[str] = []


class PlanSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Steps by name, in the order they are written."""

    steps: dict[Name, StepSpec]
    cases: CasesSpec | None = None


class AlgorithmSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who gets which plan."""

    tid: Name
    plan: str
    bid: Key = ANYBODY
    override: dict[str, StepOverride] = {}


class GoldenSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a new version must read before it gets a page of anybody's."""

    #: Folder of images with a JSON file each ({"lines": [text, ...]}); "packaged" for the sample pages of the package.
    samples: str = "packaged"
    #: Character recall over all samples.
    min_recall: Annotated[float, Meta(ge=0, le=1)] = 0.9


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The desired state as one file."""

    models: dict[Name, ModelSpec]
    plans: dict[Name, PlanSpec]
    algorithms: list[AlgorithmSpec]
    plugins: dict[Name, PluginSpec] = {}
    slices: dict[Name, SlicesSpec] = {}
    #: Documents that each instance reads at the same time; left out, what it was started with.
    workers: Replicas | None = None
    golden: GoldenSpec = GoldenSpec()
    #: A word for people, shown in the history.
    note: str = ""
