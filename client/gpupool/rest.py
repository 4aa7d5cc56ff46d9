"""The broker's REST API as a client of the base install sees it: the standard library's HTTP, one error shape."""

from __future__ import annotations

import http.client
import ipaddress
import urllib.error
import urllib.request
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from gpupool_wire.errors import ErrorInfo, GpupoolError, PoolUnreachable, RemoteFault, from_info

#: A broker takes turns of milliseconds; a request that waits in the queue says so itself.
TIMEOUT_S: Final = 15.0
API: Final = "/api/v1"


class _ErrorAnswer(msgspec.Struct):
    error: ErrorInfo


class RestClient:
    """Speaks JSON to one broker as the owner of one token. Every failure is a GpupoolError."""

    def __init__(self, address: str, token: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self.address = address.rstrip("/") if "://" in address else f"http://{address.rstrip('/')}"
        self._token = token
        self._timeout_s = timeout_s
        # A company's proxy cannot reach this machine's loopback.
        proxies = urllib.request.ProxyHandler({} if _is_loopback(self.address) else None)
        self._opener = urllib.request.build_opener(proxies)

    def __repr__(self) -> str:
        return f"<RestClient of {self.address}>"

    def get(self, path: str, **query: str | None) -> Any:  # noqa: ANN401 - JSON
        """Return what is at `path` (below /api/v1); a query value of None is left out."""
        wanted = urlencode({name: value for name, value in query.items() if value is not None})
        return self._ask("GET", f"{path}?{wanted}" if wanted else path)

    def post(self, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401
        """Create; return what was created."""
        return self._ask("POST", path, body)

    def patch(self, path: str, body: dict[str, Any], *, patience_s: float = 0.0) -> Any:  # noqa: ANN401
        """Change; return what it is now. `patience_s` is what the change itself may take."""
        return self._ask("PATCH", path, body, patience_s)

    def put(self, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401
        """Set; return what it is now."""
        return self._ask("PUT", path, body)

    def delete(self, path: str) -> Any:  # noqa: ANN401
        """End; return what it was."""
        return self._ask("DELETE", path)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None, patience_s: float = 0.0) -> Any:  # noqa: ANN401
        request = urllib.request.Request(  # noqa: S310 - http or https, by construction of the address
            f"{self.address}{API}{path}",
            method=method,
            data=None if body is None else msgspec.json.encode(body),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        try:
            with self._opener.open(request, timeout=self._timeout_s + patience_s) as answer:
                return msgspec.json.decode(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise _error_of(error) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise PoolUnreachable(
                f"no broker answers at {self.address} ({reason}): start a pool on this machine with `gpupool up`, "
                "or name yours with --http",
                http=self.address,
            ) from error
        except msgspec.MsgspecError as error:
            raise RemoteFault(f"what answers at {self.address} does not speak gpupool's REST: {error}") from error


def segment(name: str) -> str:
    """Return `name` as one segment of a path."""
    return quote(name, safe="")


def _error_of(answer: urllib.error.HTTPError) -> GpupoolError:
    try:
        return from_info(msgspec.json.decode(answer.read(), type=_ErrorAnswer).error)
    except (msgspec.MsgspecError, OSError):
        return RemoteFault(f"{answer.url} answered {answer.code} {answer.reason}", status=answer.code)


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
