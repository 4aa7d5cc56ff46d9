"""Found first on PYTHONPATH by every Python process under `gpupool run`: puts gpupool's sessions under `import onnxruntime`.

    interpreter starts ──> this file: one finder on sys.meta_path, then the sitecustomize that would have run otherwise
    import onnxruntime ──> finder ──> the wheel, two of its modules touched │ no wheel: the stand-in

It stays idle, and imports nothing of gpupool, until a program imports onnxruntime. It must be able to run in any Python 3.11 or
later, with or without gpupool installed.
"""

from __future__ import annotations

import importlib
import os
import sys

# Every Python process under the launcher pays for what is imported here, whether it uses ONNX Runtime or not: importlib.abc and
# typing alone would take longer than the interpreter itself.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    Path = Sequence[str] | None

_ROOT = "onnxruntime"
_TOUCHED = (f"{_ROOT}.capi._pybind_state", f"{_ROOT}.capi.onnxruntime_inference_collection")
_HERE = os.path.dirname(os.path.abspath(__file__))
#: The launcher's own packages, for interpreters that have gpupool's dependencies and not gpupool itself.
_PACKAGES_VARIABLE = "GPUPOOL_RUN_PACKAGES"
_MARKS_VARIABLE = "GPUPOOL_RUN_MARKS"
_NEEDED = ("numpy", "zmq", "msgspec")


def _spec_of_others(name: str, path: Path, own: object) -> ModuleSpec | None:
    """Return what the other finders find."""
    for finder in list(sys.meta_path):
        find = getattr(finder, "find_spec", None)
        if finder is own or find is None:
            continue
        spec: ModuleSpec | None = find(name, path, None)
        if spec is not None:
            return spec
    return None


def _client() -> ModuleType:
    """Return gpupool.onnxruntime.swap; ImportError says what this interpreter lacks."""
    from importlib.util import find_spec

    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing or sys.version_info < (3, 11):
        raise ImportError(
            f"gpupool run: this program's Python ({sys.executable}, version {sys.version.split()[0]}) cannot carry gpupool: "
            + (f"it lacks {', '.join(missing)}" if missing else "3.11 is the oldest that can")
            + "; install gpupool into it, or run the program without gpupool run"
        )
    return importlib.import_module("gpupool.onnxruntime.swap")


class _Touching:
    """Loads a module of the wheel as its own loader does, then touches it."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        swap = _client()
        self._loader.exec_module(module)
        swap.touch(module)

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)  # get_source, is_package and so on, for inspect and pkgutil


class _StandIn:
    """Loads the stand-in where there is no wheel."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None  # an ordinary one

    def exec_module(self, module: ModuleType) -> None:
        _client().stand_in(module)


def _spec_of_stand_in() -> ModuleSpec:
    from importlib.machinery import ModuleSpec

    loader: Any = _StandIn()  # a loader by its methods
    return ModuleSpec(_ROOT, loader, origin="gpupool", is_package=True)


class OnnxruntimeFinder:
    """Finds onnxruntime: the wheel where there is one, else the stand-in."""

    def __init__(self) -> None:
        self._stands_in = False

    def find_spec(self, fullname: str, path: Path, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return a spec for the names that matter, None for all others."""
        if fullname == _ROOT:
            spec = _spec_of_others(fullname, path, self)
            self._stands_in = spec is None or spec.loader is None
            return _spec_of_stand_in() if self._stands_in else spec
        if fullname in _TOUCHED and not self._stands_in:
            spec = _spec_of_others(fullname, path, self)
            if spec is not None and spec.loader is not None:
                touching: Any = _Touching(spec.loader)  # a loader by its methods
                spec.loader = touching
            return spec
        if self._stands_in and fullname.startswith(f"{_ROOT}."):
            raise ModuleNotFoundError(_client().refusal(fullname), name=fullname)
        return None

    def find_distributions(self, context: Any) -> Iterator[Any]:  # noqa: ANN401 - importlib.metadata's own, not imported here
        """Answer for onnxruntime by name where the stand-in stands in: programs look its version up before they import it."""
        if context.name == _ROOT and _spec_of_others(_ROOT, None, self) is None:
            yield _client().distribution()


class PackageFinder:
    """Finds gpupool itself in the launcher's folders, last of all, so that an installed one comes first."""

    def __init__(self, folders: dict[str, str]) -> None:
        self._folders = folders

    def find_spec(self, fullname: str, path: Path, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return a spec for the launcher's packages, None for everything else."""
        folder = self._folders.get(fullname)
        if folder is None:
            return None
        from importlib.util import spec_from_file_location

        return spec_from_file_location(fullname, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder])


def install() -> None:
    """Put both finders in place; a second call changes nothing."""
    if any(isinstance(finder, OnnxruntimeFinder) for finder in sys.meta_path):
        return
    finders: list[Any] = sys.meta_path  # finders by their methods
    finders.insert(0, OnnxruntimeFinder())
    folders = [folder for folder in os.environ.get(_PACKAGES_VARIABLE, "").split(os.pathsep) if folder]
    finders.append(PackageFinder({os.path.basename(folder): folder for folder in folders}))
    marks = os.environ.get(_MARKS_VARIABLE)
    if marks:
        try:
            os.close(os.open(os.path.join(marks, "hooked"), os.O_CREAT | os.O_WRONLY, 0o600))
        except OSError:
            return  # the launcher has gone: nobody is left to be told


def chain() -> None:
    """Run the sitecustomize that would have run without us, under its own name."""
    rest = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != _HERE]
    from importlib.machinery import PathFinder

    spec = PathFinder.find_spec("sitecustomize", rest)
    if spec is None or spec.loader is None:
        return
    from importlib.util import module_from_spec

    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


if __name__ == "sitecustomize":
    install()
    chain()
