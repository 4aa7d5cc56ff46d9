"""Passwords: what may be one, and what is kept of it (argon2id, RFC 9106).

    verify ──> [at most HASHING at once] ──> argon2     MAX_WAITING more wait; whoever comes then is told to come again

Hashing runs on the thread that asks, outside of Python's lock, never on the event loop: a flood of sign-ins takes HASHING cores
at most, and threads for MAX_WAITING, while everything else goes on.
"""

from __future__ import annotations

import secrets
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gpupool_broker.access.roles import key_of
from gpupool_wire.errors import GpupoolError, UsageError

#: OWASP's password storage sheet for argon2id: 19 MiB, two passes, one lane; some 40 ms of one core.
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
HASHING: Final = 2
MAX_WAITING: Final = 8
#: NIST SP 800-63B asks for 8 and for no rules about signs; every further one makes guessing 50 times harder.
MIN_CHARS: Final = 10
#: Longer is nobody's password, and hashing it is work.
MAX_BYTES: Final = 1024


class Busy(GpupoolError):
    """Too many ask at once."""

    code = "busy"
    http_status = 503


def check_password(password: str, name: str) -> None:
    """Raise UsageError where a password cannot be the one of user `name`."""
    if len(password) < MIN_CHARS:
        raise UsageError(f"the password has {len(password)} characters: take at least {MIN_CHARS}")
    size = len(password.encode(errors="surrogatepass"))
    if size > MAX_BYTES:
        raise UsageError(f"the password has {size} bytes: at most {MAX_BYTES} are taken")
    if key_of(password) == key_of(name):
        raise UsageError("the password is the user's name: take another")


def one_time_password() -> str:
    """Return a password to be read out once: 79 random bits, in letters that are not mistaken for each other."""
    letters = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(4)) for _ in range(4))


class Passwords:
    """Hashes and verifies. Thread-safe."""

    def __init__(self) -> None:
        self._cores = threading.BoundedSemaphore(HASHING)
        self._places = threading.BoundedSemaphore(HASHING + MAX_WAITING)
        #: Verified where there is no user of a name, so that nobody can tell from the time it takes.
        self._nobodys = self.hash(secrets.token_urlsafe())

    def hash(self, password: str) -> str:
        """Return what is kept of a password. Raises Busy."""
        with self._core():
            return _HASHER.hash(_canonical(password))

    def is_right(self, kept: str, password: str) -> bool:
        """Whether it is the password that was kept; takes as long where none was. Raises Busy."""
        with self._core():
            try:
                return _HASHER.verify(kept or self._nobodys, _canonical(password)) and bool(kept)
            except (VerificationError, InvalidHashError):
                return False

    @contextmanager
    def _core(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise Busy("too many sign in at once: try again in a second", retry_after_s=1)
        try:
            with self._cores:
                yield
        finally:
            self._places.release()


def _canonical(password: str) -> bytes:
    """Return the bytes of a password, however the keyboard composed its letters (NIST SP 800-63B, 5.1.1.2)."""
    return unicodedata.normalize("NFKC", password).encode(errors="surrogatepass")
