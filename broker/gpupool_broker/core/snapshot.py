"""The books as bytes, so that a start replays the journal's end alone.

    books ──freeze──> bytes (MessagePack) ──thaw──> books, equal by content, with placement offered the nodes anew

Every attribute of the books is either in KEPT, with its type, or in DERIVED, with the reason why not; a test holds us to it.
A snapshot is read only by a broker whose books have the same shape: SHAPE changes with every field of every record in them.
"""

from __future__ import annotations

import functools
import operator
import zlib
from collections import deque
from typing import Any

import msgspec

from gpupool_broker.core.books import Books
from gpupool_broker.core.facts import CarbonSet, MonthFrozen, PriceSet
from gpupool_broker.core.quotas import Held, Quota
from gpupool_broker.core.shares import Average
from gpupool_broker.core.state import Node, Reservation, Slice
from gpupool_wire.errors import GpupoolError

#: Raised where `apply` comes to mean something else by the same fields.
VERSION = 1

#: What is kept: attribute of the books, by its path → its type.
KEPT: dict[str, Any] = {
    "nodes": dict[str, Node],
    "slices": dict[str, Slice],
    "quotas.limits": dict[str, Quota],
    "quotas.held": dict[str, Held],
    "shares._averages": dict[str, Average],
    "reservations": dict[str, Reservation],
    "tariff.entries": list[PriceSet | CarbonSet],
    "tariff.frozen": list[MonthFrozen],
    "elastic": set[str],
    "paused": set[str],
    "gangs": dict[str, list[str]],
    "priorities": dict[int, int],
    "noticed": set[str],
    "labelled": dict[tuple[str, str], set[str]],
    "reserved": dict[str, set[str]],
    "_answers": dict[str, str],
    "_ended": list[str],
    "_stranded": dict[str, int | None],
}
#: What is not: attribute → why.
DERIVED = {
    "placer": "made of the nodes",
    "openings": "only ever compared with what it was a moment ago",
    "lately": "told again with the next beats",
}


class SnapshotUnreadable(GpupoolError):
    """What is stored is no snapshot of these books."""

    code = "snapshot_unreadable"


#: What the kept types look like, field by field, as one number.
SHAPE = zlib.crc32(msgspec.json.encode([VERSION, msgspec.json.schema_components(list(KEPT.values())), list(KEPT)]))

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[str, msgspec.msgpack.Decoder[Any]] = {path: msgspec.msgpack.Decoder(kind) for path, kind in KEPT.items()}


def freeze(books: Books) -> bytes:
    """Return what the books hold, for `thaw`."""
    return _encoder.encode({path: _plain(_at(books, path)) for path in KEPT})


def thaw(data: bytes, books: Books) -> None:
    """Fill empty books with what `freeze` took. Raises SnapshotUnreadable, and then they are still empty."""
    try:
        parts = msgspec.msgpack.decode(data, type=dict[str, msgspec.Raw])
        found = {path: decoder.decode(parts[path]) for path, decoder in _decoders.items()}
    except (msgspec.MsgspecError, UnicodeError, KeyError) as error:
        raise SnapshotUnreadable(f"the snapshot cannot be read: {error}") from error
    for path, value in found.items():
        container = _at(books, path)
        (container.extend if isinstance(value, list) else container.update)(value)
    for node in books.nodes.values():
        books._offer(node)


@functools.cache
def _getter(path: str) -> operator.attrgetter[Any]:
    return operator.attrgetter(path)


def _at(books: Books, path: str) -> Any:  # noqa: ANN401 - whatever stands there
    return _getter(path)(books)


def _plain(container: Any) -> Any:  # noqa: ANN401
    """Return a container as msgspec knows it."""
    return list(container) if isinstance(container, deque) else container
