"""Puts sessions on a slice under an unmodified program: called by the import hook, module by module, as the wheel is imported.

Swapped are the session class, the binding that belongs to it, and the two functions that say which device there is. Every other
name of the wheel stays what it is.
"""

from __future__ import annotations

import sys
from importlib.metadata import Distribution
from pathlib import Path
from types import ModuleType

from gpupool.onnxruntime.modules import COLLECTION, PYBIND, ROOT, build, sessions
from gpupool.onnxruntime.recording import watch

#: Modules of the wheel that are touched, once each, right after they have run.
TOUCHED = (PYBIND, COLLECTION)


def touch(module: ModuleType) -> None:
    """Swap what belongs to sessions in one of the wheel's modules."""
    ours = sessions()
    names = vars(module)
    if module.__name__ == PYBIND:
        names.update(get_available_providers=ours["get_available_providers"], get_device=ours["get_device"])
        watch(names["SessionOptions"], names["RunOptions"])
    else:
        # `Session` is the base of the wheel's class; programs that ask isinstance(x, Session) mean any session.
        names.update(InferenceSession=ours["InferenceSession"], IOBinding=ours["IOBinding"], Session=ours["InferenceSession"])


def stand_in(root: ModuleType) -> None:
    """Make `root` the stand-in for a wheel that is not installed."""
    vars(root)["__path__"] = []
    made = build(root)
    sys.modules.update(made)


class _Provided(Distribution):
    """What importlib.metadata says of the stand-in: its name and the version of its surface."""

    def read_text(self, filename: str) -> str | None:
        from gpupool.onnxruntime.facade import version

        return f"Metadata-Version: 2.1\nName: {ROOT}\nVersion: {version}\n" if filename == "METADATA" else None

    def locate_file(self, path: object) -> Path:
        return Path(__file__).parent / str(path)


def distribution() -> Distribution:
    """Return the metadata of the stand-in."""
    return _Provided()


def refusal(name: str) -> str:
    """Return why a submodule of the wheel is not there."""
    return (
        f"{name} needs the onnxruntime wheel, which is not installed here: gpupool's stand-in for {ROOT} opens and runs "
        "models on a slice, and nothing else"
    )
