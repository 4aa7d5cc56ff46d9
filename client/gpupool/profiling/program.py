"""`gpupool run --profile`: what a program and its children cost, told at its end.

launcher ──GPUPOOL_PROFILE=folder──> program and children, a file each ──> at the end: table on stderr, trace in a file
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from gpupool.profiling import trace
from gpupool.profiling.files import collect
from gpupool.profiling.rows import Rows
from gpupool.profiling.table import table
from gpupool_wire.errors import UsageError

#: Where the trace goes unless told.
DEFAULT_FILE: Final = "gpupool-profile.json"


def check_file(path: str) -> str:
    """Return the path of a trace to be; raise UsageError where it cannot be written, before a program runs for hours."""
    file = Path(path)
    if file.is_dir() or not os.access(file if file.exists() else file.absolute().parent, os.W_OK):
        raise UsageError(f"the profile cannot be written to {path}: name a file in a folder that exists and is yours")
    return path


def tell(folder: Path, file: Path) -> None:
    """Write the table to stderr and the trace to `file`."""
    spans = collect(folder)
    if not spans:
        return  # that nothing ran on the slice is told anyway
    rows = Rows(spans)
    processes = len({span.pid for span in spans})
    sys.stderr.write(f"gpupool run: {len(spans)} exchanges of {processes} process(es), times in ms\n")
    sys.stderr.write(f"{table(rows.largest_first, rows.total)}\n")
    try:
        trace.write(file, spans)
    except OSError as error:
        sys.stderr.write(f"gpupool run: the trace could not be written to {file}: {error.strerror}\n")
        return
    sys.stderr.write(f"gpupool run: the trace is in {file} (chrome://tracing, ui.perfetto.dev)\n")
