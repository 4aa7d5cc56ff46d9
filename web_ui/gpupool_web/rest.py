"""The broker's REST, as the pages use it."""

from __future__ import annotations

from typing import Any

import httpx

from gpupool_wire.errors import ErrorInfo, GpupoolError, PoolUnreachable, RemoteFault, from_info

#: A page that waits longer is better told that the broker is away.
TIMEOUT_S = 5.0
#: A report of a large pool takes seconds; of one that cannot be made in this time the broker says so.
REPORT_S = 150.0
Json = dict[str, Any]


class Rest:
    """Asks the broker. One connection pool for all users; the credential comes with each call."""

    def __init__(self, base_url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.base_url = base_url
        self._client = httpx.AsyncClient(base_url=base_url, timeout=TIMEOUT_S, transport=transport, trust_env=False)

    async def get(self, path: str, token: str, **params: str) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON at `path`; raise the error the broker answers with, or PoolUnreachable."""
        return await self._ask("GET", path, token, params=params)

    async def look(self, path: str, token: str, **params: str) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON at `path`; of a list that is a part of a longer one: {"rows": the part, "total": the length}."""
        answer = await self._send("GET", path, token, params=params)
        total = answer.headers.get("x-total-count")
        return answer.json() if total is None else {"rows": answer.json(), "total": int(total)}

    async def get_slowly(self, path: str, token: str, **params: str) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON at `path`, which takes its time to be made."""
        return await self._ask("GET", path, token, params=params, timeout=REPORT_S)

    async def fetch(self, path: str, token: str, **params: str) -> tuple[bytes, str]:
        """Return the file at `path` and its name."""
        answer = await self._send("GET", path, token, params=params, timeout=REPORT_S)
        named = answer.headers.get("content-disposition", "").partition('filename="')[2].partition('"')[0]
        return answer.content, named or "report"

    async def sign_in(self, path: str, body: Json, address: str) -> Json:
        """Return the session the broker opens for somebody at `address`."""
        answer = await self._send("POST", path, "", json=body, headers={"X-Forwarded-For": address})
        opened: Json = answer.json()
        return opened

    async def patch(self, path: str, token: str, body: Json) -> Json:
        """Change what is at `path`."""
        changed: Json = await self._ask("PATCH", path, token, json=body)
        return changed

    async def put(self, path: str, token: str, body: Json) -> Json:
        """Set what is at `path`."""
        put: Json = await self._ask("PUT", path, token, json=body)
        return put

    async def post(self, path: str, token: str, body: Json | None = None) -> Json:
        """Have something done."""
        done: Json = await self._ask("POST", path, token, json=body)
        return done

    async def delete(self, path: str, token: str) -> Json:
        """End what is at `path`."""
        ended: Json = await self._ask("DELETE", path, token)
        return ended

    async def _ask(self, method: str, path: str, token: str, **more: Any) -> Any:  # noqa: ANN401
        return (await self._send(method, path, token, **more)).json()

    async def _send(
        self,
        method: str,
        path: str,
        token: str,
        headers: dict[str, str] | None = None,
        **more: Any,  # noqa: ANN401 - httpx's
    ) -> httpx.Response:
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            answer = await self._client.request(method, f"/api/v1{path}", headers=sent | (headers or {}), **more)
        except httpx.HTTPError as error:
            raise PoolUnreachable(f"the broker does not answer at {self.base_url}: {error or type(error).__name__}") from error
        if answer.is_success:
            return answer
        raise _error_of(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _error_of(answer: httpx.Response) -> GpupoolError:
    try:
        body = answer.json()["error"]
        return from_info(ErrorInfo(code=body["code"], message=body["message"], details=body.get("details", {})))
    except (ValueError, KeyError, TypeError):
        return RemoteFault(f"the broker answered {answer.status_code} and no reason")
