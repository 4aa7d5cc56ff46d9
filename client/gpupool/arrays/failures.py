"""Operations that failed, until somebody reads what they should have made."""

from __future__ import annotations

import collections

from gpupool.arrays.origin import Origin
from gpupool.arrays.queue import Batch
from gpupool_wire.errors import ErrorInfo, GpupoolError, from_info
from gpupool_wire.messages import Breakage, BrokenArray

#: So many origins are remembered; an older failure is still told, without the line that called it.
MAX_REMEMBERED = 4096


class Failures:
    """By the first array that was never made: where that operation was called."""

    def __init__(self) -> None:
        self._origins: collections.OrderedDict[int, Origin] = collections.OrderedDict()
        #: Why the latest batch was refused as a whole; its arrays are unknown to the worker.
        self.refusal: GpupoolError | None = None

    def __repr__(self) -> str:
        return f"<Failures, {len(self._origins)} remembered>"

    def remember(self, breakage: Breakage, origin: Origin) -> None:
        """Keep where an operation was called that failed."""
        self._origins[breakage.root] = origin
        if len(self._origins) > MAX_REMEMBERED:
            self._origins.popitem(last=False)

    def refuse(self, batch: Batch, error: GpupoolError) -> None:
        """A whole batch was refused: none of its operations was done. Add to the error which the first one was."""
        if batch.origins:
            error.add_note(f"none of {len(batch.origins)} queued operations was done; the first was {batch.origins[0]}")
            self.refusal = error

    def of(self, broken: BrokenArray) -> GpupoolError:
        """Return the error to raise for an array that was never made: the operation's own, with the line that called it."""
        origin = self._origins.get(broken.root)
        if origin is None:
            return from_info(broken.error)
        details = {**broken.error.details, "operation": origin.operation, "file": origin.file, "line": origin.line}
        place = details.get("step_position")
        inner = f"{origin.inner[place]}, in " if isinstance(place, int) and place < len(origin.inner) else ""
        message = f"{broken.error.message} (in {inner}{origin})"
        return from_info(ErrorInfo(code=broken.error.code, message=message, details=details))

    def clear(self) -> None:
        """Forget everything."""
        self._origins.clear()
        self.refusal = None
