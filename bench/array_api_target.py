"""The namespace that bench.array_api has tested, in the process of the test suite: of the slice in GPUPOOL_SLICE."""

from __future__ import annotations

import gpupool

xp = gpupool.current_slice().xp
