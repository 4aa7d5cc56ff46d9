"""Array operations as both sides see them: the table, and what comes of an operation before it is done."""

from __future__ import annotations

from gpupool_wire.operations.spec import Outcome, Shape, Spec, leaves, rebuilt, specs_of, with_leaves
from gpupool_wire.operations.table import OPERATIONS, Operation, resolve

__all__ = ["OPERATIONS", "Operation", "Outcome", "Shape", "Spec", "leaves", "rebuilt", "resolve", "specs_of", "with_leaves"]
