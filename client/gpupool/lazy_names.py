"""Which outputs of a model a program wants to stay on the device.

inference_session(model, lazy=["probs"])            names, which the model has to have
GPUPOOL_LAZY="*_rec_*:*;ab12cd34:probs"             set by `gpupool run --lazy MODEL:OUTPUT`: patterns
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from gpupool_wire.errors import UsageError

VARIABLE: Final = "GPUPOOL_LAZY"
#: Between two wishes in the variable: neither file names nor outputs are likely to hold it.
SEPARATOR: Final = ";"
#: A hash prefix shorter than this is taken for a file name: it could be one.
MIN_HASH_CHARS: Final = 8


def check_wish(wish: str) -> str:
    """Return a "MODEL:OUTPUT" as it is; raise UsageError for anything else."""
    model, _, output = wish.rpartition(":")
    if not model or not output or SEPARATOR in wish:
        raise UsageError(f'--lazy takes MODEL:OUTPUT, such as "rec.onnx:probs" or "*:probs", not {wish!r}')
    return wish


def lazy_outputs(
    asked: Iterable[str], outputs: Sequence[str], path: str | None, sha256: str, environ: Mapping[str, str] = os.environ
) -> frozenset[str]:
    """Return the outputs that are to stay on the device: those asked for, and those the environment's patterns match.

    MODEL matches the file's name, its whole path, or the first characters of the model's SHA-256; `*` and `?` stand for anything.
    Raises UsageError for an output asked for that the model does not have.
    """
    names = list(asked)
    if unknown := [name for name in names if name not in outputs]:
        raise UsageError(f"lazy: the model has no output {unknown[0]!r}; it has {', '.join(map(repr, outputs))}")
    for wish in filter(None, environ.get(VARIABLE, "").split(SEPARATOR)):
        model, _, output = wish.rpartition(":")
        if _is_model(model, path, sha256):
            names += [name for name in outputs if fnmatchcase(name, output)]
    return frozenset(names)


def _is_model(pattern: str, path: str | None, sha256: str) -> bool:
    if len(pattern) >= MIN_HASH_CHARS and sha256.startswith(pattern):
        return True
    named = [os.path.basename(path), path] if path else [""]
    return any(fnmatchcase(name, pattern) for name in named)
