"""Users: names, passwords, roles."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpupool_broker.access.desks import Desks
from gpupool_broker.access.passwords import MAX_BYTES, MIN_CHARS, one_time_password
from gpupool_broker.access.users import WrongPassword
from gpupool_wire.errors import Conflict, NotFound, UsageError


def test_a_user_begins_with_a_one_time_password_and_chooses_another(desks: Desks) -> None:
    user, first = desks.users.create("ada", "tenant", "ocr")
    assert user.must_change
    assert desks.users.verified("ada", first) == user
    chosen = desks.users.choose(user, first, "correct horse")
    assert not chosen.must_change
    assert desks.users.verified("ada", first) is None
    assert desks.users.verified("ada", "correct horse") == chosen
    assert "correct horse" not in chosen.password


def test_users_are_there_after_a_restart(open_again: Callable[[], Desks]) -> None:
    made = open_again().users.create("ада", "finance")[0]
    assert open_again().users.list() == [made]


@pytest.mark.parametrize("name", ["", " ada", "a\nb", "a\0b", "a/b", "x" * 129, "\ud800", "a\u202eb"])
def test_a_name_that_cannot_be_seen_or_typed_is_refused(desks: Desks, name: str) -> None:
    with pytest.raises(UsageError, match="a user's name has 1 to 128"):
        desks.users.create(name, "admin")


@pytest.mark.parametrize("name", ["<script>alert(1)", "=cmd|' '!A1", "张伟", "o'brien@example.org", "100 %"])
def test_a_name_in_any_script_is_a_name(desks: Desks, name: str) -> None:
    assert desks.users.create(name, "admin")[0].name == name


@pytest.mark.parametrize("twin", ["ADA", "ada", "ａｄａ"])
def test_names_that_read_the_same_are_one_name(desks: Desks, ada: str, twin: str) -> None:
    with pytest.raises(Conflict, match="reads the same"):
        desks.users.create(twin, "admin")
    assert desks.users.verified(twin, ada)


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ("x" * (MIN_CHARS - 1), "at least"),
        ("ы" * MAX_BYTES, "at most"),
        ("ada lovelace", "is the user's name"),
        ("correct horse", "is the old one"),
    ],
)
def test_a_password_that_cannot_be_is_refused_with_the_numbers(desks: Desks, new: str, said: str) -> None:
    _, first = desks.users.create("Ada Lovelace", "admin")
    user = desks.users.choose(desks.users.named("ada lovelace"), first, "correct horse")
    with pytest.raises(UsageError, match=said):
        desks.users.choose(user, "correct horse", new)


def test_the_old_password_is_asked_for(desks: Desks, ada: str) -> None:
    with pytest.raises(WrongPassword):
        desks.users.choose(desks.users.named("ada"), "wrong horse", "another horse")


def test_a_password_is_the_same_however_it_is_typed(desks: Desks, ada: str) -> None:
    desks.users.choose(desks.users.named("ada"), ada, "schlüsselloch")
    assert desks.users.verified("ada", "schlu\u0308sselloch")


@pytest.mark.parametrize("password", ["", "\0", "\ud800", "wrong" * 100])
def test_no_password_is_right_where_there_is_no_user_or_another(desks: Desks, ada: str, password: str) -> None:
    assert desks.users.verified("nobody", password) is None
    assert desks.users.verified("ada", password) is None


def test_roles_and_tenants_are_checked(desks: Desks) -> None:
    with pytest.raises(UsageError, match="there is no role 'root'"):
        desks.users.create("ada", "root")
    with pytest.raises(UsageError, match="needs the tenant's name"):
        desks.users.create("ada", "tenant")
    with pytest.raises(UsageError, match="all of which can be seen"):
        desks.users.create("ada", "tenant", "a\0b")
    with pytest.raises(NotFound):
        desks.users.change("ada", role="admin")


def test_one_time_passwords_differ_and_are_long_enough() -> None:
    assert len({one_time_password() for _ in range(100)}) == 100
    assert len(one_time_password()) >= MIN_CHARS


def test_a_providers_user_is_brought_up_to_date_and_has_no_password(desks: Desks, ada: str) -> None:
    first = desks.users.of_provider("https://p|1", "eve", "tenant", "ocr")
    second = desks.users.of_provider("https://p|1", "eve", "admin", "")
    assert (first.user_id, second.role) == (second.user_id, "admin")
    assert desks.users.verified("eve", "") is None
    with pytest.raises(Conflict, match="signed in by a provider"):
        desks.users.reset("eve")
    with pytest.raises(Conflict, match="reads the same"):
        desks.users.of_provider("https://p|2", "ada", "admin", "")
