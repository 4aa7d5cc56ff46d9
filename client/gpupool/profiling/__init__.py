"""Where a program's time went: what every call of a slice cost, summed up and drawn along a line of time.

Model, Holding ──Watch.call──> Span ──> rows ──> table (terminal)
                                   └──> trace (JSON for chrome://tracing and Perfetto)
"""

from __future__ import annotations

from gpupool.profiling.profile import Profile
from gpupool.profiling.rows import Row
from gpupool.profiling.spans import Part, Span

__all__ = ["Part", "Profile", "Row", "Span"]
