"""A small OpenID provider of the tests' own, on loopback: real keys, real PKCE, and faults on demand.

/authorize signs `person` in at once and sends the browser back; /token checks code, verifier, secret and redirect.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from urllib.parse import parse_qs, urlencode

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey

CLIENT, SECRET = "gpupool", "the client's secret"


class SmallProvider:
    """Its state, and what it does wrong."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.key = RSAKey.generate_key(2048, {"kid": "one"})
        self.person: dict[str, Any] = {"sub": "1", "preferred_username": "eve", "groups": ["staff", "gpu-admins"]}
        #: Claims of the next ID tokens that are not as they should be; None leaves one out.
        self.lies: dict[str, Any] = {}
        self.algorithm = "RS256"
        self.signing_key: Any = None
        self.codes: dict[str, dict[str, str]] = {}
        self.app = FastAPI(openapi_url=None)
        self._add_routes()

    def _add_routes(self) -> None:
        @self.app.get("/.well-known/openid-configuration")
        def meta() -> dict[str, str]:
            paths = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/keys"}
            return {"issuer": self.url, **{name: self.url + path for name, path in paths.items()}}

        @self.app.get("/keys")
        def keys() -> Any:
            return KeySet([self.key]).as_dict(private=False)

        @self.app.get("/authorize")
        def authorize(request: Request) -> Response:
            asked = dict(request.query_params)
            assert asked["response_type"] == "code"
            assert asked["code_challenge_method"] == "S256"
            assert asked["client_id"] == CLIENT
            code = secrets.token_urlsafe()
            self.codes[code] = asked
            back = urlencode({"code": code, "state": asked["state"]})
            return RedirectResponse(f"{asked['redirect_uri']}?{back}", status_code=303)

        @self.app.post("/token")
        async def token(request: Request) -> Response:
            sent = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
            expected = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
            asked = self.codes.pop(sent["code"], None)
            verifier = base64.urlsafe_b64encode(hashlib.sha256(sent["code_verifier"].encode()).digest()).rstrip(b"=").decode()
            if (
                request.headers.get("authorization") != f"Basic {expected}"
                or asked is None
                or verifier != asked["code_challenge"]
                or sent["redirect_uri"] != asked["redirect_uri"]
            ):
                return JSONResponse({"error": "invalid_grant"}, status_code=400)
            return JSONResponse({"access_token": "a", "token_type": "Bearer", "id_token": self.id_token(asked["nonce"])})

    def id_token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": nonce, **self.person, **self.lies}
        claims = {name: value for name, value in claims.items() if value is not None}
        if self.algorithm == "none":
            parts = ({"alg": "none"}, claims)
            return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + "."
        key = self.signing_key or self.key
        return jwt.encode({"alg": self.algorithm, "kid": key.kid}, claims, key, algorithms=[self.algorithm])

    def sign_with_the_clients_secret(self) -> None:
        self.algorithm, self.signing_key = "HS256", OctKey.import_key(SECRET * 3, {"kid": "one"})


@contextmanager
def running_provider() -> Iterator[SmallProvider]:
    """Serve one in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    provider = SmallProvider(f"http://127.0.0.1:{listener.getsockname()[1]}")
    server = uvicorn.Server(uvicorn.Config(provider.app, log_config=None, lifespan="off"))
    server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield provider
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
