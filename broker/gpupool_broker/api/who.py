"""Who asks: a request's credential is looked at before its handler runs, and what it wants to change before it is changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from gpupool_broker.access.doorkeeper import Doorkeeper, check_role
from gpupool_broker.access.principal import Principal
from gpupool_broker.tokens import Unauthenticated

#: Methods that change nothing (RFC 9110, section 9.2.1).
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_bearer = HTTPBearer(auto_error=False, description="A token or a session: `Authorization: Bearer gpp_...`")
#: What a request is about, as it is now: by the parameters of its path.
Look = Callable[[dict[str, str]], object]


class Who:
    """Makes the dependencies that handlers ask with."""

    def __init__(self, doorkeeper: Doorkeeper, look: Look) -> None:
        self._doorkeeper = doorkeeper
        self._look = look

    def __call__(self, *roles: str, reads: bool = False, even_unchanged: bool = False) -> Any:  # noqa: ANN401 - FastAPI's Depends
        """Return a dependency that gives the Principal of a request, if it has one of `roles`.

        `reads` marks what changes nothing although its method could; `even_unchanged` what a one-time password is good for.
        """

        def check(request: Request, sent: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Principal:
            if sent is None:
                raise Unauthenticated("a token is needed: send it as `Authorization: Bearer TOKEN`")
            who = self._doorkeeper.identify(sent.credentials)
            writes = not reads and request.method not in SAFE
            if writes:
                request.state.principal = who
            check_role(who, roles, writes=writes, even_unchanged=even_unchanged)
            if writes:
                request.state.before = self._look(request.path_params)
            return who

        return Depends(check)


def address_of(request: Request) -> str:
    """Return where a request comes from: its peer, or whom a proxy that is trusted (uvicorn's) says it speaks for."""
    return (request.client.host if request.client else "")[:64]
