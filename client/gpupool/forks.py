"""What a forked child must renew: locks that another thread of the parent may have held, and what belongs to the parent alone."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Renewable(Protocol):
    """An object that knows what of it does not survive a fork."""

    def renew_in_child(self) -> None:
        """Replace locks, and forget (without closing) what belongs to the parent. Runs in the child, in its only thread."""


#: How many forks lie between the process that imported this first and this one. Compared instead of the process id, which costs a
#: system call each time it is asked for.
generation = 0
_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_after_fork(thing: Renewable) -> None:
    """Have `thing` renewed in every child that this process forks, for as long as it lives."""
    _renewables.add(thing)


def _renew_all() -> None:
    global generation
    generation += 1
    for thing in list(_renewables):
        thing.renew_in_child()


os.register_at_fork(after_in_child=_renew_all)
