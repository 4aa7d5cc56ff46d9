"""Snapshots, the desired state and heartbeats of several instances, in Redis."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gpupool_ocr.jobs import redis_scripts as scripts
from gpupool_ocr.jobs.redis_link import PREFIX, away
from gpupool_ocr.rollouts.desired import Desired
from gpupool_ocr.rollouts.store import Entry, check_revision
from gpupool_ocr.service.heartbeats import LOST_S, Beat
from gpupool_wire.errors import Conflict, NotFound

NUMBER: Final = PREFIX + "snapshot-number"
SNAPSHOTS: Final = PREFIX + "snapshots"
DESIRED: Final = PREFIX + "desired"
BEATS: Final = PREFIX + "beats"
#: Whoever was silent for so long is forgotten.
FORGET_S: Final = 3600.0


class RedisSnapshots:
    """A SnapshotStore of several instances."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - redis-py has no usable types
        self._redis = client

    def desired(self) -> Desired:
        """See SnapshotStore."""
        with away():
            raw = self._redis.hget(DESIRED, "state")
        return msgspec.json.decode(raw, type=Desired) if raw else Desired()

    def set_desired(self, state: Desired) -> None:
        """See SnapshotStore."""
        with away():
            done = self._redis.eval(
                scripts.SET_DESIRED, 1, DESIRED, state.revision - 1, msgspec.json.encode(state), state.revision
            )
        if not done:
            check_revision(self.desired(), state)
            raise Conflict("the desired state has changed meanwhile: look at it and try again")

    def add(self, draft: Entry) -> int:
        """See SnapshotStore."""
        # The number is put in by the script: no two instances give the same one.
        head, _, tail = msgspec.json.encode(msgspec.structs.replace(draft, number=0)).partition(b'"number":0')
        with away():
            return int(self._redis.eval(scripts.ADD_SNAPSHOT, 2, NUMBER, SNAPSHOTS, head + b'"number":', tail))

    def get(self, number: int) -> Entry:
        """See SnapshotStore."""
        with away():
            raw = self._redis.hget(SNAPSHOTS, number)
        if raw is None:
            raise NotFound(f"there is no snapshot {number}; there are 1 to {len(self.history())}")
        return msgspec.json.decode(raw, type=Entry)

    def history(self) -> list[Entry]:
        """See SnapshotStore."""
        with away():
            found = self._redis.hvals(SNAPSHOTS)
        return sorted((msgspec.json.decode(raw, type=Entry) for raw in found), key=lambda entry: -entry.number)

    def restore(self, state: Desired, history: list[Entry]) -> bool:
        """See SnapshotStore."""
        entries = [part for entry in history for part in (entry.number, msgspec.json.encode(entry))]
        last = max((entry.number for entry in history), default=0)
        with away():
            arguments = (state.revision, msgspec.json.encode(state), last, *entries)
            return bool(self._redis.eval(scripts.RESTORE, 3, DESIRED, NUMBER, SNAPSHOTS, *arguments))


class RedisBeats:
    """A BeatStore of several instances. Ages are told by Redis's clock alone."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - redis-py has no usable types
        self._redis = client

    def beat(self, beat: Beat) -> None:
        """See BeatStore."""
        with away():
            self._redis.hset(BEATS, beat.instance, msgspec.msgpack.encode((self._now(), beat)))

    def alive(self) -> list[Beat]:
        """See BeatStore."""
        with away():
            now, found = self._now(), self._redis.hgetall(BEATS)
            beats = {name: msgspec.msgpack.decode(raw, type=tuple[float, Beat]) for name, raw in found.items()}
            gone = [name for name, (at, _) in beats.items() if now - at > FORGET_S]
            if gone:
                self._redis.hdel(BEATS, *gone)
        return sorted((beat for at, beat in beats.values() if now - at <= LOST_S), key=lambda beat: beat.instance)

    def _now(self) -> float:
        seconds, micros = self._redis.time()
        return float(seconds) + float(micros) / 1e6
