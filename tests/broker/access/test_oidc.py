"""Signing in at a provider: the whole flow on loopback, and everything that must not hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from joserfc.jwk import RSAKey

from gpupool_broker.access.oidc import PENDING_MS, OidcSettings, Provider, ProviderFailed, Rule, read_settings
from gpupool_broker.service import wall_ms
from gpupool_broker.tokens import Unauthenticated
from gpupool_wire.errors import UsageError
from tests.broker.access.provider import CLIENT, SECRET, SmallProvider, running_provider

BACK = "http://127.0.0.1:7180/sign-in/oidc"
RULES = [
    Rule(claim="groups", value="gpu-admins", role="admin"),
    Rule(claim="realm.roles", value="books", role="finance"),
    Rule(claim="team", value="*", role="tenant"),
]


@pytest.fixture
def there() -> Iterator[SmallProvider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def moment() -> list[int]:
    """How far the broker's clock is from the provider's, in milliseconds."""
    return [0]


@pytest.fixture
def here(there: SmallProvider, moment: list[int], tmp_path: Path) -> Iterator[Provider]:
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    settings = OidcSettings(
        issuer=there.url, client_id=CLIENT, redirect=BACK, roles=RULES, client_secret_file=str(secret), tenant_claim="team"
    )
    provider = Provider(settings, lambda: wall_ms() + moment[0])
    yield provider
    provider.close()


@pytest.fixture
def visit(here: Provider) -> Callable[[], dict[str, str]]:
    """Return a function that goes to the provider as a browser does; it gives what the browser comes back with."""

    def go() -> dict[str, str]:
        url, state = here.start()
        back = httpx.get(url, trust_env=False).headers["location"]
        assert back.startswith(BACK)
        params = dict(httpx.URL(back).params)
        assert params["state"] == state
        return params

    return go


@pytest.mark.parametrize(
    ("claims", "role", "tenant"),
    [
        ({}, "admin", ""),
        ({"groups": ["staff"], "realm": {"roles": ["books"]}}, "finance", ""),
        ({"groups": None, "team": "ocr"}, "tenant", "ocr"),
    ],
)
def test_who_signs_in_gets_the_role_of_the_first_rule(there, here, visit, claims, role, tenant) -> None:
    there.person |= claims
    found = here.finish(**visit())
    assert (found.subject, found.name, found.role, found.tenant) == (f"{there.url}|1", "eve", role, tenant)


@pytest.mark.parametrize("claims", [{"groups": []}, {"groups": "staff"}, {"groups": {"gpu-admins": 1}}, {"groups": None}])
def test_whom_no_rule_lets_in_is_told_so(there, here, visit, claims) -> None:
    there.person |= claims
    with pytest.raises(Unauthenticated, match="nothing the provider says of eve gives a role here"):
        here.finish(**visit())


@pytest.mark.parametrize(
    "lies",
    [
        {"iss": "https://elsewhere.example.org"},
        {"aud": "another client"},
        {"aud": ["another", "client"]},
        {"nonce": "another nonce"},
        {"nonce": None},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"preferred_username": None},
        {"preferred_username": 5},
    ],
    ids=str,
)
def test_an_id_token_that_does_not_hold_signs_nobody_in(there, here, visit, lies) -> None:
    there.lies = lies
    with pytest.raises(Unauthenticated):
        here.finish(**visit())


def test_nobody_elses_signature_holds(there, here, visit) -> None:
    there.signing_key = RSAKey.generate_key(2048, {"kid": "one"})
    with pytest.raises(Unauthenticated, match="does not hold"):
        here.finish(**visit())


@pytest.mark.parametrize("how", ["none", "HS256"])
def test_no_signature_and_one_with_our_secret_are_none(there, here, visit, how) -> None:
    there.algorithm = how
    if how == "HS256":
        there.sign_with_the_clients_secret()
    with pytest.raises(Unauthenticated, match="does not hold"):
        here.finish(**visit())


def test_a_new_key_of_the_provider_is_fetched(there, here, visit) -> None:
    here.finish(**visit())
    there.key = RSAKey.generate_key(2048, {"kid": "two"})
    assert here.finish(**visit()).name == "eve"


def test_a_code_and_a_state_are_good_once_and_not_for_long(here, visit, moment) -> None:
    back = visit()
    here.finish(**back)
    with pytest.raises(Unauthenticated, match="not begun here, or too long ago"):
        here.finish(**back)
    late = visit()
    moment[0] += PENDING_MS
    with pytest.raises(Unauthenticated, match="not begun here, or too long ago"):
        here.finish(**late)


def test_anothers_code_does_not_fit_this_sign_in(here, visit) -> None:
    ours, theirs = visit(), visit()
    with pytest.raises(Unauthenticated, match="does not take the code"):
        here.finish(code=theirs["code"], state=ours["state"])


def test_a_provider_that_is_away_or_somebody_else_is_said(here, there) -> None:
    there.url = "https://elsewhere.example.org"
    with pytest.raises(ProviderFailed, match="the provider says it is 'https://elsewhere"):
        here.start()
    settings = OidcSettings(issuer="http://127.0.0.1:9", client_id=CLIENT, redirect=BACK, roles=RULES)
    away = Provider(settings, wall_ms)
    with pytest.raises(ProviderFailed, match=r"does not answer at http://127\.0\.0\.1:9"):
        away.start()
    away.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("issuer = 5", "Expected `str`"),
        ('issuer = "https://a"', "missing required field"),
        ('surprise = 1\nissuer = "https://a"\nclient_id = "b"\nredirect = "https://c"\nroles = []', "unknown field"),
        ('issuer = "http://a"\nclient_id = "b"\nredirect = "https://c"\nroles = []', "issuer must begin with https://"),
        (
            'issuer = "https://a"\nclient_id = "b"\nredirect = "https://c"\n[[roles]]\nclaim = "g"\nvalue = "x"\nrole = "root"',
            "there is no role 'root'",
        ),
        ("not toml", "oidc"),
    ],
)
def test_a_file_that_cannot_be_is_refused_with_its_name(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "oidc.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_settings(file)
    with pytest.raises(UsageError, match=r"nowhere\.toml"):
        read_settings(tmp_path / "nowhere.toml")
