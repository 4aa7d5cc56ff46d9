"""Arrays that live on a slice's device: `slice.xp` and what it is made of."""

from __future__ import annotations

from gpupool.arrays import feeding as feeding  # what models are fed with is looked for there
from gpupool.arrays.array import RemoteArray
from gpupool.arrays.namespace import Namespace

__all__ = ["Namespace", "RemoteArray"]
