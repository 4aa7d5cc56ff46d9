"""The slice of a session that the program did not bind to one, and the mark that tells a launcher a session was opened."""

from __future__ import annotations

import os
from pathlib import Path

from gpupool.hooking import MARKS_VARIABLE, OPENED_MARK
from gpupool.protocols import SliceLike


def current_slice() -> SliceLike:
    """Return the slice of this process: the one in GPUPOOL_SLICE, else one that is asked for at first use."""
    import gpupool

    home: SliceLike = gpupool.current_slice()
    return home


def leave_mark() -> None:
    """Tell the launcher, where there is one, that a session was opened."""
    folder = os.environ.get(MARKS_VARIABLE)
    if folder:
        try:
            Path(folder, OPENED_MARK).touch()
        except OSError:
            return  # the launcher has gone, or the program changed its root: nobody is left to be told
