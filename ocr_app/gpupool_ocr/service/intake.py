"""From an HTTP request to documents: forms, raw bodies and addresses, none larger than it may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from gpupool_ocr.service.fetching import Fetcher
from gpupool_wire.errors import LimitExceeded, UsageError

if TYPE_CHECKING:
    from starlette.requests import Request

#: One document. A scan of A4 at 600 dpi as PNG has about 30 MB.
MAX_DOCUMENT_BYTES = 32 << 20
#: Documents of one batch.
MAX_BATCH = 32
MAX_BODY_BYTES = 128 << 20
#: A sender that is slower than this is not served (all of the body).
BODY_S = 60.0
#: How long the name of a file may be that is shown again in answers and logs.
MAX_NAME_CHARS = 200
FORM, _JSON = "multipart/form-data", "application/json"


class TooLarge(LimitExceeded):
    """The request is larger than it may be."""

    http_status = 413


@dataclass(frozen=True, slots=True)
class Document:
    """A file to read."""

    name: str
    content: bytes


class ByAddress(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A JSON body: a page by its address, and what the query may say, too."""

    url: str
    bid: str | None = None
    tid: str | None = None
    mode: str | None = None
    callback: str | None = None
    keep: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """What a request brought along."""

    documents: list[Document]
    #: What the body said of bid, tid, mode, callback, keep, correction.
    options: dict[str, str]


async def receive(request: Request, fetcher: Fetcher) -> Received:
    """Return what a request brings. Raises TooLarge, UsageError, and what fetching raises."""
    kind = kind_of(request)
    if kind == FORM:
        async with _in_time():
            return await _from_form(request)
    body = await receive_body(request, MAX_DOCUMENT_BYTES)
    if kind == _JSON:
        return await _from_address(body, fetcher)
    if not body:
        raise UsageError('the body is empty: send a form with `file`, the file itself, or JSON {"url": ...}')
    return Received(documents=[Document(_name(request.query_params.get("name")), body)], options={})


def kind_of(request: Request) -> str:
    """Return what kind of body a request has, in lower case, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def receive_body(request: Request, limit: int) -> bytes:
    """Return the body of a request. Raises TooLarge while it arrives, UsageError where it takes too long."""
    body = bytearray()
    async with _in_time():
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise TooLarge(f"the body has more than {limit} bytes", limit=limit)
    return bytes(body)


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(BODY_S):
            yield
    except TimeoutError:
        raise UsageError(f"the body did not arrive within {BODY_S:g} s") from None


async def _from_address(body: bytes, fetcher: Fetcher) -> Received:
    try:
        asked = msgspec.json.decode(body, type=ByAddress)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f'the body is not {{"url": "https://..."}}: {error}') from error
    name, content = await fetcher.fetch(asked.url)
    options = {key: value for key in ("bid", "tid", "mode", "callback") if (value := getattr(asked, key)) is not None}
    if asked.keep is not None:
        options["keep"] = "true" if asked.keep else "false"
    return Received(documents=[Document(_name(name), content)], options=options)


async def _from_form(request: Request) -> Received:
    from starlette.datastructures import UploadFile
    from starlette.formparsers import MultiPartException

    declared = request.headers.get("content-length", "")
    if not declared.isdecimal() or int(declared) > MAX_BODY_BYTES:
        raise TooLarge(f"a form needs a Content-Length of at most {MAX_BODY_BYTES} bytes", limit=MAX_BODY_BYTES)
    try:
        form = await request.form(max_files=MAX_BATCH, max_fields=16, max_part_size=1 << 16)
    except MultiPartException as error:
        raise UsageError(f"the form cannot be read: {error.message}") from error
    documents: list[Document] = []
    options: dict[str, str] = {}
    try:
        for key, value in form.multi_items():
            if isinstance(value, UploadFile):
                documents.append(await _upload(value))
            elif key in {"bid", "tid", "mode", "callback", "keep", "correction"}:
                options[key] = value
    finally:
        await form.close()
    if not documents:
        raise UsageError("the form has no file: name it `file`")
    return Received(documents=documents, options=options)


async def _upload(upload: Any) -> Document:  # noqa: ANN401 - starlette is imported lazily
    content = await upload.read(MAX_DOCUMENT_BYTES + 1)
    name = _name(upload.filename)
    if len(content) > MAX_DOCUMENT_BYTES:
        raise TooLarge(f"{name} has more than {MAX_DOCUMENT_BYTES} bytes", limit=MAX_DOCUMENT_BYTES)
    return Document(name, content)


def _name(name: str | None) -> str:
    """Return a name that can be shown: the last part of a path, without what controls a terminal."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    return "".join(char for char in last if char.isprintable())[:MAX_NAME_CHARS] or "page"
