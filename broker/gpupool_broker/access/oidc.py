"""OpenID Connect: people sign in at a provider, and what it says of them decides their role.

start ──> state, nonce, PKCE challenge ──> browser ──> provider ──> browser: code, state
finish(code, state) ──verifier──> provider: ID token ──signature, issuer, audience, nonce, time──> claims ──rules──> role, tenant

OpenID Connect Core 1.0, section 3.1 (authorization code flow); PKCE, RFC 7636. The state is good once, and for ten minutes; the
web page has bound it to the browser that it came from.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from gpupool_broker.access.roles import ROLES
from gpupool_broker.core.claims import RoleRule, role_of
from gpupool_broker.tokens import Unauthenticated
from gpupool_wire.errors import GpupoolError, UsageError

#: Signatures that are made with a key of the provider's own; never "none", never with our secret.
ALGORITHMS: Final = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]
#: A browser that is sent to the provider comes back in this time.
PENDING_MS: Final = 600_000
MAX_PENDING: Final = 1_000
#: How long the provider's keys and addresses are taken to be the same; an unknown key has them fetched at once.
KNOWN_MS: Final = 3_600_000
TIMEOUT_S: Final = 5.0
MAX_ANSWER_BYTES: Final = 1024 * 1024
#: Two clocks.
LEEWAY_S: Final = 60


class ProviderFailed(GpupoolError):
    """The provider does not answer as it should."""

    code = "provider"
    http_status = 503


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of the file: see RoleRule."""

    claim: str
    value: str
    role: str
    tenant: str = ""


class OidcSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file that `gpupool broker --oidc` names (TOML)."""

    issuer: str
    client_id: str
    #: Where the provider sends browsers back to: the page's address and /sign-in/oidc.
    redirect: str
    roles: list[Rule]
    #: Empty for a public client, which PKCE alone protects.
    client_secret_file: str = ""
    name: str = "OpenID"
    scopes: str = "openid profile email"
    name_claim: str = "preferred_username"
    tenant_claim: str = "tenant"


def read_settings(path: Path) -> OidcSettings:
    """Return the settings of a file. Raises UsageError where it cannot be read or says what cannot be."""
    try:
        settings = msgspec.toml.decode(path.read_bytes(), type=OidcSettings)
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise UsageError(f"--oidc {path}: {error}") from error
    for rule in settings.roles:
        if rule.role not in ROLES:
            raise UsageError(f"--oidc {path}: there is no role {rule.role!r}; there are: {', '.join(ROLES)}")
    for name in ("issuer", "redirect"):
        if not getattr(settings, name).startswith(("https://", "http://127.0.0.1", "http://localhost", "http://[::1]")):
            raise UsageError(f"--oidc {path}: {name} must begin with https:// (http:// only on this machine)")
    return settings


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is, by a provider's word."""

    subject: str
    name: str
    role: str
    tenant: str


@dataclass(frozen=True, slots=True)
class _Pending:
    nonce: str
    verifier: str
    until_ms: int


@dataclass(frozen=True, slots=True)
class _Known:
    meta: dict[str, Any]
    keys: KeySet
    until_ms: int


class Provider:
    """One provider. Thread-safe."""

    def __init__(self, settings: OidcSettings, clock: Callable[[], int], transport: httpx.BaseTransport | None = None) -> None:
        self.settings = settings
        self._clock = clock
        self._client = httpx.Client(timeout=TIMEOUT_S, transport=transport, follow_redirects=False)
        self._lock = threading.Lock()
        self._pending: OrderedDict[str, _Pending] = OrderedDict()
        self._known: _Known | None = None
        secret = settings.client_secret_file
        try:
            self._secret = Path(secret).read_text("utf-8").strip() if secret else ""
        except OSError as error:
            raise UsageError(f"the client secret cannot be read: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def start(self) -> tuple[str, str]:
        """Return where to send a browser, and the state it has to come back with. Raises ProviderFailed."""
        known = self._look()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        with self._lock:
            self._pending[state] = _Pending(nonce, verifier, self._clock() + PENDING_MS)
            if len(self._pending) > MAX_PENDING:
                self._pending.popitem(last=False)
        url = prepare_grant_uri(
            _text(known.meta, "authorization_endpoint"),
            self.settings.client_id,
            "code",
            redirect_uri=self.settings.redirect,
            scope=self.settings.scopes,
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        return str(url), state

    def finish(self, code: str, state: str) -> Identity:
        """Return who came back with a code. Raises Unauthenticated where that is nobody, ProviderFailed."""
        with self._lock:
            pending = self._pending.pop(state, None)
        if pending is None or self._clock() >= pending.until_ms:
            raise Unauthenticated("this sign-in was not begun here, or too long ago: begin again")
        answer = self._exchange(code, pending.verifier)
        claims = self._verified(_text(answer, "id_token"), pending.nonce)
        return self._identity(claims)

    def _exchange(self, code: str, verifier: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.settings.redirect,
            "client_id": self.settings.client_id,
            "code_verifier": verifier,
        }
        auth = httpx.BasicAuth(self.settings.client_id, self._secret) if self._secret else None
        answer = self._ask("POST", _text(self._look().meta, "token_endpoint"), data=form, auth=auth)
        if answer.status_code in (400, 401):
            raise Unauthenticated(f"the provider does not take the code: {answer.text[:200]}")
        return _json(answer)

    def _verified(self, token: str, nonce: str) -> dict[str, Any]:
        wanted = {
            "iss": {"essential": True, "value": self.settings.issuer},
            "aud": {"essential": True, "value": self.settings.client_id},
            "nonce": {"essential": True, "value": nonce},
        }
        try:
            try:
                decoded = jwt.decode(token, self._look().keys, algorithms=ALGORITHMS)
            except (JoseError, ValueError):
                # The provider may have changed its keys since.
                decoded = jwt.decode(token, self._look(anew=True).keys, algorithms=ALGORITHMS)
            claims = CodeIDToken(decoded.claims, decoded.header, wanted, {"nonce": nonce, "client_id": self.settings.client_id})
            claims.validate(now=self._clock() // 1000, leeway=LEEWAY_S)
        except (JoseError, ValueError, TypeError) as error:
            raise Unauthenticated(f"the provider's ID token does not hold: {error}") from error
        return dict(decoded.claims)

    def _identity(self, claims: dict[str, Any]) -> Identity:
        rules = [RoleRule(claim=rule.claim, value=rule.value, role=rule.role, tenant=rule.tenant) for rule in self.settings.roles]
        found = role_of(claims, rules, self.settings.tenant_claim)
        subject, name = str(claims["sub"]), claims.get(self.settings.name_claim)
        if found is None:
            raise Unauthenticated(f"nothing the provider says of {str(name or subject)[:128]} gives a role here")
        role, tenant = found
        if not isinstance(name, str) or not name:
            raise Unauthenticated(f"the provider says no name ({self.settings.name_claim}) of {subject[:128]}")
        return Identity(f"{self.settings.issuer}|{subject}"[:1024], name, role, tenant)

    # ── the provider ──────

    def _look(self, *, anew: bool = False) -> _Known:
        known = self._known
        if known is None or anew or self._clock() >= known.until_ms:
            meta = _json(self._ask("GET", f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration"))
            if meta.get("issuer") != self.settings.issuer:
                raise ProviderFailed(f"the provider says it is {str(meta.get('issuer'))[:128]!r}, not {self.settings.issuer!r}")
            try:
                keys = KeySet.import_key_set(_json(self._ask("GET", _text(meta, "jwks_uri"))))  # type: ignore[arg-type]
            except (JoseError, ValueError, KeyError, TypeError) as error:
                raise ProviderFailed(f"the provider's keys are not understood: {error}") from error
            known = self._known = _Known(meta, keys, self._clock() + KNOWN_MS)
        return known

    def _ask(self, method: str, url: str, **more: Any) -> httpx.Response:  # noqa: ANN401 - httpx's
        try:
            answer = self._client.request(method, url, **more)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ProviderFailed(f"the provider does not answer at {url}: {error or type(error).__name__}") from error
        if len(answer.content) > MAX_ANSWER_BYTES:
            raise ProviderFailed(f"the provider's answer at {url} is over {MAX_ANSWER_BYTES} bytes")
        return answer


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = json.loads(answer.content)
    except ValueError:
        found = None
    if not answer.is_success or not isinstance(found, dict):
        raise ProviderFailed(f"the provider answered {answer.status_code} at {answer.url}, and nothing that is understood")
    return found


def _text(found: dict[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str):
        raise ProviderFailed(f"the provider says no {name}")
    return value
