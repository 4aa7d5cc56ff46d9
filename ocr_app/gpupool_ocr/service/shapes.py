"""What the routes take and answer, for the OpenAPI description and for whoever reads it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from gpupool_wire.errors import GpupoolError


class ErrorBody(BaseModel):
    """What went wrong."""

    code: str
    message: str
    details: dict[str, str | int | float | bool | None] = {}


class Error(BaseModel):
    """The one shape of an error."""

    error: ErrorBody
    job: str | None = None
    trace: str | None = None

    @classmethod
    def of(cls, error: GpupoolError) -> Error:
        """Return an error as it is answered."""
        info = error.to_info()
        return cls(error=ErrorBody(code=info.code, message=info.message, details=info.details))


class Line(BaseModel):
    """A line of text."""

    order: int = Field(description="Place in the reading order, from 0.")
    polygon: list[list[int]] = Field(description="Four corners in pixels, from where the text begins, clockwise.")
    text: str
    score: float


class Page(BaseModel):
    """A page of a document."""

    page: int
    width: int
    height: int
    lines: list[Line]
    fields: dict[str, Any]
    problems: list[str] = Field(description="Steps that failed and may.")
    timings_ms: dict[str, float] = Field(description="By step, and in all.")


class Recognized(BaseModel):
    """What a document says."""

    job: str
    trace: str
    bid: str
    tid: str
    name: str
    instance: str
    plan: str
    release: int = Field(description="Number of the snapshot that all of it was read with.")
    versions: dict[str, str]
    pages: list[Page]
    timings_ms: dict[str, float]


class Submitted(BaseModel):
    """A job that is not done yet."""

    job: str
    state: str
    trace: str
    href: str


class BatchResult(BaseModel):
    """One document of a batch."""

    name: str
    status: int
    answer: dict[str, Any]


class Batch(BaseModel):
    """The answers to a batch, in the order of its files."""

    trace: str
    results: list[BatchResult]


class BadCase(BaseModel):
    """A page that was read badly."""

    id: str
    business: str
    reason: str
    status: str
    added_at: float = Field(description="Seconds since 1970.")
    size_bytes: int = Field(description="Of the picture; 0 where none is kept.")
    result: dict[str, Any] = Field(description="What was read, without what is taken out of it.")
    labels: dict[str, Any] | None = Field(description="What is right, or, of an open case, what a sender corrected.")
    tenant: str
    trace: str
    draft: dict[str, Any] | None = Field(None, description="What was read, as labels.")


class BadCases(BaseModel):
    """A part of the list of bad cases."""

    cases: list[BadCase]
    more: bool = Field(description="There are older ones.")


def _json_body(required: list[str], **properties: Any) -> dict[str, Any]:  # noqa: ANN401 - a JSON schema
    schema = {"type": "object", "required": required, "properties": properties}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_TEXT = {"type": "string"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_POLYGON = {"type": "array", "minItems": 3, "items": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "number"}}}
CASE_LABELS = _json_body(
    ["lines"],
    lines={
        "type": "array",
        "items": {"type": "object", "required": ["polygon", "text"], "properties": {"polygon": _POLYGON, "text": _TEXT}},
    },
    type=_TEXT,
    fields=_TEXTS,
)
CORRECTION = _json_body(
    ["trace"],
    trace=_TEXT,
    page={"type": "integer", "default": 1},
    job=_TEXT,
    lines={
        "type": "array",
        "items": {"type": "object", "required": ["order", "text"], "properties": {"order": {"type": "integer"}, "text": _TEXT}},
    },
    fields=_TEXTS,
    complete={"type": "boolean", "default": False, "description": "All the rest of the page is right."},
)
CORRECTION["requestBody"]["content"]["multipart/form-data"] = {
    "schema": {
        "type": "object",
        "required": ["correction", "file"],
        "properties": {"correction": {"type": "string"}, "file": {"type": "string", "format": "binary"}},
    }
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
#: Read by hand, so that large bodies are refused while they arrive: FastAPI learns of them from here.
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        **{key: {"type": "string"} for key in ("bid", "tid", "mode", "keep")},
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["url"],
                    "properties": {
                        **{key: {"type": "string"} for key in ("url", "bid", "tid", "mode", "callback")},
                        "keep": {"type": "boolean"},
                    },
                }
            },
            "application/octet-stream": _BINARY,
            "image/*": _BINARY,
            "application/pdf": _BINARY,
        },
    }
}
_WHY = {
    400: "The form is broken",
    401: "No key, or none that is known",
    404: "No such algorithm",
    409: "It has changed meanwhile",
    413: "Too large",
    422: "No page, or a wish that cannot be",
    429: "Too much at once: see Retry-After",
    500: "A fault of the service's",
    502: "A plug-in, or the address of the page, failed",
    503: "Not ready: see Retry-After",
    504: "Too slow",
}
ANSWERS: dict[int | str, dict[str, Any]] = {status: {"model": Error, "description": why} for status, why in _WHY.items()}
