"""Users: made and changed by admins, signed in by a password of their own or by a provider."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import replace

from gpupool_broker.access.passwords import Passwords, check_password, one_time_password
from gpupool_broker.access.roles import ROLES, check_user_name, key_of, tenant_of
from gpupool_broker.store.accounts import AccountStore, User
from gpupool_broker.tokens import DEFAULT_TENANT
from gpupool_wire.errors import Conflict, NotFound, UsageError


class WrongPassword(UsageError):
    """The old password is wrong."""


class UserDesk:
    """Knows every user. Thread-safe; the store's only writer of users."""

    def __init__(self, store: AccountStore, passwords: Passwords, clock: Callable[[], int]) -> None:
        self._store = store
        self._passwords = passwords
        self._clock = clock
        self._lock = threading.Lock()
        self._by_id = {user.user_id: user for user in store.users()}

    def __repr__(self) -> str:
        return f"<UserDesk, {len(self._by_id)} users>"

    def list(self) -> list[User]:
        """Return every user, by name."""
        return sorted(self._by_id.values(), key=lambda user: user.name)

    def get(self, user_id: str) -> User | None:
        """Return a user by id."""
        return self._by_id.get(user_id)

    def named(self, name: str) -> User:
        """Return a user by name; raise NotFound."""
        if user := self._find(name):
            return user
        raise NotFound(f"there is no user {name[:64]!a}")

    def _find(self, name: str) -> User | None:
        wanted = key_of(name)
        return next((user for user in self._by_id.values() if key_of(user.name) == wanted), None)

    # ── making and changing ──────

    def create(self, name: str, role: str, tenant: str = "") -> tuple[User, str]:
        """Make a user; return it with a one-time password. Raises Conflict where the name is taken, UsageError."""
        password = one_time_password()
        return self._add(name, role, tenant, password=self._passwords.hash(password), must_change=True), password

    def reset(self, name: str) -> tuple[User, str]:
        """Give a user a new one-time password. Raises NotFound; Conflict for one that a provider signs in."""
        if self.named(name).subject:
            raise Conflict(f"{name} is signed in by a provider and has no password here")
        password = one_time_password()
        kept = self._passwords.hash(password)
        return self._change(name, password=kept, must_change=True), password

    def change(self, name: str, *, role: str | None = None, tenant: str | None = None, is_disabled: bool | None = None) -> User:
        """Change what is given. Raises NotFound, UsageError."""
        user = self.named(name)
        role = role or user.role
        changes: dict[str, object] = {"role": role, "tenant": _tenant(role, user.tenant if tenant is None else tenant)}
        if is_disabled is not None:
            changes["disabled_ms"] = (user.disabled_ms or self._clock()) if is_disabled else None
        return self._change(name, **changes)

    def _add(self, name: str, role: str, tenant: str, **more: object) -> User:
        name, tenant = check_user_name(name), _tenant(role, tenant)
        user = User(
            user_id=f"u-{secrets.token_hex(8)}",
            name=name,
            role=role,
            tenant=tenant,
            created_ms=self._clock(),
            **more,  # type: ignore[arg-type]
        )
        with self._lock:
            if self._find(name):
                raise Conflict(f"there is a user {name!r} already, or one whose name reads the same", name=name)
            self._store.add_user(user)
            self._by_id[user.user_id] = user
        return user

    def _change(self, name: str, **changes: object) -> User:
        with self._lock:
            user = replace(self.named(name), **changes)  # type: ignore[arg-type]
            self._store.keep_user(user)
            self._by_id[user.user_id] = user
        return user

    # ── signing in ──────

    def verified(self, name: str, password: str) -> User | None:
        """Return the user whose password this is, or None; both take the same work. Raises Busy."""
        user = self._find(name)
        is_right = self._passwords.is_right(user.password if user else "", password)
        return user if is_right else None

    def note_sign_in(self, user: User) -> User:
        """Note that a user has signed in."""
        return self._change(user.name, used_ms=self._clock())

    def choose(self, user: User, old: str, new: str) -> User:
        """Change a user's own password. Raises UsageError where the old one is wrong or the new one cannot be."""
        check_password(new, user.name)
        if old == new:
            raise UsageError("the new password is the old one: take another")
        if not self._passwords.is_right(user.password, old):
            raise WrongPassword(which="old")
        return self._change(user.name, password=self._passwords.hash(new), must_change=False)

    def of_provider(self, subject: str, name: str, role: str, tenant: str) -> User:
        """Return the user of an OpenID subject, made or brought up to date by what the provider says.

        Raises Conflict where another user has the name.
        """
        known = next((user for user in self._by_id.values() if user.subject == subject), None)
        if known is None:
            return self._add(name, role, tenant, subject=subject)
        if (known.role, known.tenant) == (role, _tenant(role, tenant)):
            return known
        return self._change(known.name, role=role, tenant=_tenant(role, tenant))


def _tenant(role: str, tenant: str) -> str:
    if role not in ROLES:
        raise UsageError(f"there is no role {role[:64]!r}; there are: {', '.join(ROLES)}")
    return tenant_of(role, tenant, DEFAULT_TENANT)
