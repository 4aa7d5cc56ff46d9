"""Sessions: the credential a browser gets for a password or a token. Kept as hashes, they outlive a restart of the broker."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from gpupool_broker.store.accounts import AccountStore, Session
from gpupool_broker.tokens import hash_of

PREFIX: Final = "gps_"
#: Nobody comes back to a page closed longer than this; whoever finds the browser then has to sign in.
IDLE_MS: Final = 4 * 3_600_000
#: Of one user or token: browsers, not programs. One more ends the one that was idle longest.
MAX_EACH: Final = 50
#: A session that began later than now was begun by a clock that was wrong, or is now; this much is only two clocks.
SKEW_MS: Final = 300_000


class SessionDesk:
    """Opens, finds and ends sessions. Thread-safe; the store's only writer of sessions."""

    def __init__(self, store: AccountStore, clock: Callable[[], int], lasts_ms: Callable[[], int]) -> None:
        """`lasts_ms` says how long a session that is opened now lasts at most."""
        self._store = store
        self._clock = clock
        self._lasts_ms = lasts_ms
        self._lock = threading.Lock()
        self._by_hash = {session.sha256: session for session in store.sessions()}
        #: Last uses by session, and which of them are not stored yet.
        self._used_ms = {session.session_id: session.used_ms for session in self._by_hash.values()}
        self._unstored: set[str] = set()
        self._end([one for one in self._by_hash.values() if one.created_ms > clock() + SKEW_MS])

    def __repr__(self) -> str:
        return f"<SessionDesk, {len(self._by_hash)} sessions>"

    def open(self, *, user_id: str = "", token_id: str = "", address: str, at_most_ms: int | None = None) -> tuple[Session, str]:
        """Begin a session of a user or a token, to end no later than `at_most_ms`; return it and its secret, kept nowhere."""
        secret, now = PREFIX + secrets.token_urlsafe(32), self._clock()
        session = Session(
            session_id=f"b-{secrets.token_hex(8)}",
            sha256=hash_of(secret),
            user_id=user_id,
            token_id=token_id,
            created_ms=now,
            expires_ms=min(now + self._lasts_ms(), at_most_ms or now + self._lasts_ms()),
            used_ms=now,
            address=address,
        )
        with self._lock:
            theirs = sorted(self.of(user_id=user_id, token_id=token_id), key=lambda one: one.used_ms)
            self._end(theirs[: max(0, len(theirs) + 1 - MAX_EACH)])
            self._store.add_session(session)
            self._by_hash[session.sha256] = session
            self._used_ms[session.session_id] = now
        return session, secret

    def find(self, secret: str) -> Session | None:
        """Return the session of a secret, and note its use; None where there is none (any more)."""
        session = self._by_hash.get(hash_of(secret))
        if session is None or self._is_over(session):
            return None
        self._used_ms[session.session_id] = self._clock()
        self._unstored.add(session.session_id)
        return session

    def _is_over(self, session: Session) -> bool:
        now = self._clock()
        return now >= session.expires_ms or now - self._used_ms.get(session.session_id, 0) >= IDLE_MS

    def of(self, *, user_id: str = "", token_id: str = "") -> list[Session]:
        """Return the sessions of a user or token that are not over."""
        whose = (user_id, token_id)
        theirs = [one for one in list(self._by_hash.values()) if (one.user_id, one.token_id) == whose and not self._is_over(one)]
        return [replace(one, used_ms=self._used_ms[one.session_id]) for one in theirs]

    def end(self, session_id: str) -> None:
        """End one."""
        with self._lock:
            self._end([one for one in self._by_hash.values() if one.session_id == session_id])

    def end_all(self, *, user_id: str = "", token_id: str = "", but: str = "") -> int:
        """End all of a user or token but one; return how many."""
        with self._lock:
            theirs = [one for one in self.of(user_id=user_id, token_id=token_id) if one.session_id != but]
            self._end(theirs)
        return len(theirs)

    def tend(self) -> None:
        """Store the last uses, and forget the sessions that are over."""
        with self._lock:
            self._end([one for one in self._by_hash.values() if self._is_over(one)])
            unstored, self._unstored = list(self._unstored), set()
            used = [one for one in self._by_hash.values() if one.session_id in unstored]
            self._store.note_uses(replace(one, used_ms=self._used_ms[one.session_id]) for one in used)

    def _end(self, ended: Iterable[Session]) -> None:
        gone = list(ended)
        self._store.end_sessions(one.session_id for one in gone)
        for one in gone:
            self._by_hash.pop(one.sha256, None)
            self._used_ms.pop(one.session_id, None)
