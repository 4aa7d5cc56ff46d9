"""What is wrong, in the viewer's language: its kind in words of the catalogue, then the broker's own sentence.

The sentence is the broker's, in English, with ids, figures and the way out: whoever asks for help can quote it.
"""

from __future__ import annotations

from typing import Final

from gpupool_web.words import ENGLISH, Words, noted
from gpupool_wire.errors import (
    Conflict,
    GpupoolError,
    LimitExceeded,
    NotAuthorized,
    NotFound,
    PoolUnreachable,
    SliceRefused,
    UsageError,
)

#: The first that an error is one of.
_KINDS: Final[tuple[tuple[type[GpupoolError], str], ...]] = (
    (PoolUnreachable, noted("The broker does not answer")),
    (NotAuthorized, noted("This is not allowed")),
    (NotFound, noted("There is nothing of that name")),
    (Conflict, noted("It is not possible as things stand")),
    (SliceRefused, noted("The request is refused")),
    (LimitExceeded, noted("That is over a limit")),
    (UsageError, noted("What was entered cannot be")),
)
_OTHERS: Final = noted("It has failed")


def trouble(say: Words, error: GpupoolError) -> str:
    """Return what to tell a viewer of an error."""
    if say.language == ENGLISH:
        return str(error)
    return f"{kind(say, error)}：{error}"


def kind(say: Words, error: GpupoolError) -> str:
    """Return in a few words what kind of error it is."""
    return say(next((words for known, words in _KINDS if isinstance(error, known)), _OTHERS))
