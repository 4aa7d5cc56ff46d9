"""Which part of a long list is wanted, as REST takes it: `limit`, `offset`, `sort`, `words`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query

from gpupool_broker.core.listing import Part


class _Listed:
    """The parameters that long lists share."""

    def __init__(
        self,
        limit: Annotated[int | None, Query(ge=1, le=100_000, description="So many at most; all without it.")] = None,
        offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
        sort: Annotated[str, Query(max_length=64, description='A column; with "-" before it from the largest on.')] = "",
        words: Annotated[str, Query(max_length=256, description="Words, all of which are in names or labels.")] = "",
    ) -> None:
        self.limit, self.offset, self.sort, self.words = limit, offset, sort, words

    def as_part(self) -> Part:
        """Return it as the core names it."""
        return Part(words=self.words, sort=self.sort, offset=self.offset, limit=self.limit)


Listed = Annotated[_Listed, Depends()]
