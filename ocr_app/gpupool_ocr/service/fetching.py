"""Pages that callers name by address: fetched from allowed hosts only, and never from inside.

url ──allowed host?──> resolve ──every address public?──> connect to that very address ──redirect: all of it again──> bytes

The name is resolved once and the connection goes to the address that was checked, so a name that points elsewhere a moment later
(DNS rebinding) gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from gpupool_wire.errors import GpupoolError, LimitExceeded, UsageError

if TYPE_CHECKING:
    import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
#: As browsers do it, less the eleventh hour.
MAX_REDIRECTS = 3
#: All of it, from the first name looked up to the last byte.
TOTAL_S = 15.0
MAX_URL_CHARS = 2048
_PORTS = {"http": 80, "https": 443}


class FetchRefused(UsageError):
    """The address may not be fetched."""

    code = "fetch_refused"


class FetchFailed(GpupoolError):
    """The address could not be fetched."""

    code = "fetch_failed"
    http_status = 502


async def resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of a host. Raises FetchFailed."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FetchFailed(f"{host} cannot be resolved: {error}") from error
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def is_public(address: Address) -> bool:
    """Return whether an address belongs to the public internet, whatever it is wrapped in."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not (address.is_multicast or address.is_reserved)


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetcher:
    """What may be fetched, and how."""

    #: Host names, `*.example.org` for all below it. Empty: nothing is fetched.
    hosts: Sequence[str] = ()
    #: Networks of one's own that may be fetched from, too, although they are not public.
    networks: Sequence[Network] = ()
    max_bytes: int = 32 << 20
    total_s: float = TOTAL_S
    resolves: Callable[[str, int], Awaitable[list[Address]]] = resolve

    async def fetch(self, url: str) -> tuple[str, bytes]:
        """Return what the file is called, and its bytes. Raises FetchRefused, FetchFailed, LimitExceeded."""
        try:
            async with asyncio.timeout(self.total_s):
                return await self._follow(url)
        except TimeoutError:
            raise FetchFailed(f"{url[:200]} did not end within {self.total_s:g} s") from None

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> None:
        """Send a body to an allowed address; redirects are not followed. Raises FetchRefused, FetchFailed."""
        import httpx

        try:
            async with asyncio.timeout(self.total_s), httpx.AsyncClient(trust_env=False, timeout=self.total_s) as client:
                target, host_headers, extensions = await self._aimed(url)
                async with client.stream(
                    "POST", target, content=body, headers={**headers, **host_headers}, extensions=extensions
                ) as answer:
                    if not answer.is_success:
                        raise FetchFailed(f"{url[:200]} answered {answer.status_code}")
        except TimeoutError:
            raise FetchFailed(f"{url[:200]} did not answer within {self.total_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise FetchFailed(f"{url[:200]} cannot be reached: {error or type(error).__name__}") from error

    async def _follow(self, url: str) -> tuple[str, bytes]:
        import httpx

        async with httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=self.total_s) as client:
            for _ in range(MAX_REDIRECTS + 1):
                try:
                    location, content = await self._get(client, url)
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    raise FetchFailed(f"{url[:200]} cannot be fetched: {error or type(error).__name__}") from error
                if location is None:
                    return urlsplit(url).path.rpartition("/")[2] or "page", content
                url = urljoin(url, location)
        raise FetchRefused(f"more than {MAX_REDIRECTS} redirects; give the address they lead to")

    async def _get(self, client: httpx.AsyncClient, url: str) -> tuple[str | None, bytes]:
        """Return where a redirect leads, or None and the content."""
        import httpx

        target, headers, extensions = await self._aimed(url)
        # What is compressed on the way could unpack to anything: it is taken as it is.
        headers["Accept-Encoding"] = "identity"
        async with client.stream("GET", target, headers=headers, extensions=extensions) as answer:
            if answer.is_redirect:
                return answer.headers["location"], b""
            if answer.status_code != httpx.codes.OK:
                raise FetchFailed(f"{url[:200]} answered {answer.status_code}")
            content = bytearray()
            async for chunk in answer.aiter_raw():
                content += chunk
                if len(content) > self.max_bytes:
                    raise LimitExceeded(f"{url[:200]} is longer than {self.max_bytes} bytes", limit=self.max_bytes)
            return None, bytes(content)

    async def _aimed(self, url: str) -> tuple[httpx.URL, dict[str, str], dict[str, str]]:
        """Return an address with the host resolved and checked, and the headers and extensions that name the host."""
        import httpx

        scheme, host, port = self.check(url)
        target = httpx.URL(url).copy_with(host=str(await self._address(host, port)))
        return target, {"Host": host if port == _PORTS[scheme] else f"{host}:{port}"}, {"sni_hostname": host}

    def check(self, url: str) -> tuple[str, str, int]:
        """Return scheme, host and port of an address that may be fetched. Raises FetchRefused."""
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip(".").lower(), parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError as error:
            raise FetchRefused(f"{url[:200]!r} is no address: {error}") from error
        if parts.scheme not in _PORTS or not host or parts.username is not None or len(url) > MAX_URL_CHARS:
            raise FetchRefused(
                f"{url[:200]!r} cannot be fetched: write http(s)://HOST/PATH, without a user, up to {MAX_URL_CHARS} characters"
            )
        if not any(fnmatchcase(host, pattern) for pattern in self.hosts):
            allowed = ", ".join(self.hosts) or "none: start the service with --fetch HOST"
            raise FetchRefused(f"pages are not fetched from {host}; allowed hosts: {allowed}")
        return parts.scheme, host, port

    async def _address(self, host: str, port: int) -> Address:
        """Return an address of a host to connect to. One inner address among them is enough to refuse them all."""
        addresses = await self.resolves(host, port)
        for address in addresses:
            if not is_public(address) and not any(address in network for network in self.networks):
                raise FetchRefused(f"{host} leads to {address}, which is not public; allow its network with --fetch-network")
        if not addresses:
            raise FetchFailed(f"{host} has no address")
        return addresses[0]
