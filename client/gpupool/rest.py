"""The broker's REST API as a client of the base install sees it: the standard library's HTTP, one error shape."""

from __future__ import annotations

import collections
import http.client
import ipaddress
import ssl
import urllib.error
import urllib.request
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from gpupool_wire.errors import ErrorInfo, GpupoolError, PoolUnreachable, RemoteFault, from_info

#: A broker takes turns of milliseconds; a request that waits in the queue says so itself.
TIMEOUT_S: Final = 15.0
API: Final = "/api/v1"
#: The code of a broker's answer that stands by while another one serves.
STANDBY: Final = "standby"


class _ErrorAnswer(msgspec.Struct):
    error: ErrorInfo


class RestClient:
    """Speaks JSON to a broker as the owner of one token. Every failure is a GpupoolError.

    Where several addresses are given, with commas between, one broker serves and the others stand by: the next one is asked where
    one stands by or does not answer.
    """

    def __init__(self, address: str, token: str, *, timeout_s: float = TIMEOUT_S) -> None:
        named = [part.strip().rstrip("/") for part in address.split(",") if part.strip()]
        #: The one to ask is the first.
        self._addresses = collections.deque(part if "://" in part else f"http://{part}" for part in named)
        self._token = token
        self._timeout_s = timeout_s

    def __repr__(self) -> str:
        return f"<RestClient of {', '.join(self._addresses)}>"

    @property
    def address(self) -> str:
        """The broker that answered last."""
        return self._addresses[0]

    def get(self, path: str, **query: str | None) -> Any:  # noqa: ANN401 - JSON
        """Return what is at `path` (below /api/v1); a query value of None is left out."""
        wanted = urlencode({name: value for name, value in query.items() if value is not None})
        return self._ask("GET", f"{path}?{wanted}" if wanted else path)

    def fetch(self, path: str, *, patience_s: float = 0.0, **query: str | None) -> bytes:
        """Return the file at `path`, as it is. `patience_s` is what making it may take."""
        wanted = urlencode({name: value for name, value in query.items() if value is not None})
        return self._send("GET", f"{path}?{wanted}" if wanted else path, None, patience_s)

    def post(self, path: str, body: dict[str, Any], *, patience_s: float = 0.0) -> Any:  # noqa: ANN401
        """Create; return what was created. `patience_s` is what the creation itself may take."""
        return self._ask("POST", path, body, patience_s)

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
        answer = self._send(method, path, body, patience_s)
        try:
            return msgspec.json.decode(answer)
        except msgspec.MsgspecError as error:
            raise RemoteFault(f"what answers at {self.address} does not speak gpupool's REST: {error}") from error

    def _send(self, method: str, path: str, body: dict[str, Any] | None, patience_s: float) -> bytes:
        failures: dict[str, GpupoolError] = {}
        for _ in range(len(self._addresses)):
            try:
                return self._send_one(method, path, body, patience_s)
            except GpupoolError as error:
                failures[self.address] = error
                if not _may_ask_another(method, error):
                    raise
            self._addresses.rotate(-1)
        if len(failures) == 1:
            raise failures[self.address]
        raise PoolUnreachable("; ".join(error.message for error in failures.values()), http=", ".join(failures))

    def _send_one(self, method: str, path: str, body: dict[str, Any] | None, patience_s: float) -> bytes:
        request = urllib.request.Request(  # noqa: S310 - http or https, by construction of the address
            f"{self.address}{API}{path}",
            method=method,
            data=None if body is None else msgspec.json.encode(body),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        # A company's proxy cannot reach this machine's loopback.
        proxies = urllib.request.ProxyHandler({} if _is_loopback(self.address) else None)
        try:
            with urllib.request.build_opener(proxies).open(request, timeout=self._timeout_s + patience_s) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            with error:
                raise _error_of(error) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise PoolUnreachable(
                    f"what answers at {self.address} is not trusted ({reason.verify_message}): set SSL_CERT_FILE to the "
                    "certificate (PEM) of whoever signed the broker's",
                    http=self.address,
                    was_reached=False,
                ) from error
            raise PoolUnreachable(
                f"no broker answers at {self.address} ({reason}): start a pool on this machine with `gpupool up`, "
                "or name yours with --http",
                http=self.address,
                # Whoever was never reached has done nothing.
                was_reached=not isinstance(reason, ConnectionRefusedError),
            ) from error


def _may_ask_another(method: str, error: GpupoolError) -> bool:
    """Whether another broker can be asked the same: where this one stands by, or has certainly not done it."""
    if error.details.get("code") == STANDBY:
        return True
    return isinstance(error, PoolUnreachable) and (method == "GET" or not error.details.get("was_reached", True))


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
