"""Where a user's pool keeps its state, so that the rooms on one machine find each other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def state_home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return GPUPOOL_HOME, else `gpupool` in the user's state directory (XDG Base Directory Specification)."""
    if home := environ.get("GPUPOOL_HOME"):
        return Path(home).expanduser()
    return Path(environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "gpupool"
