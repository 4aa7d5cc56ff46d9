"""Things that mean something in one process only, and say so where somebody pickles them."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from gpupool_wire.errors import UsageError


class Unpicklable:
    """A base class whose instances refuse to be pickled, with the way out."""

    __slots__ = ()
    #: What it is, and what to do instead.
    _instead_of_pickling: ClassVar[str]

    def __reduce_ex__(self, protocol: Any) -> NoReturn:  # noqa: ANN401 - pickle's
        raise UsageError(self._instead_of_pickling)
