"""Where in the program an operation was called: what an error that surfaces later points to."""

from __future__ import annotations

import sys
from types import CodeType

#: Modules whose frames are ours; the caller is the first frame outside.
_OURS = "gpupool."


class Origin:
    """One call of one operation."""

    __slots__ = ("_code", "inner", "line", "operation")

    def __init__(self, operation: str, code: CodeType | None, line: int) -> None:
        self.operation = operation
        self._code = code
        self.line = line
        #: Of a recorded step: where each of its operations was called.
        self.inner: list[Origin] = []

    @property
    def file(self) -> str:
        """The file of the caller."""
        return self._code.co_filename if self._code is not None else "?"

    def __str__(self) -> str:
        return f"{self.operation}, called at {self.file}:{self.line}"


def here(operation: str) -> Origin:
    """Return the origin of an operation that the program is calling right now."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_OURS):
        if frame.f_back is None:
            return Origin(operation, None, 0)
        frame = frame.f_back
    return Origin(operation, frame.f_code, frame.f_lineno)
