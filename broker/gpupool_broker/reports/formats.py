"""The formats a report can be had in. Their libraries are imported with the first report that needs them."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from gpupool_broker.core.accounting.report import Report
from gpupool_wire.errors import UsageError

#: Format → module, and what HTTP calls it.
FORMATS: Final = {
    "json": ("json_file", "application/json"),
    "csv": ("csv_file", "text/csv; charset=utf-8"),
    "xlsx": ("xlsx_file", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    "pdf": ("pdf_file", "application/pdf"),
}


def check_format(name: str) -> str:
    """Return a format's name; raise UsageError where there is none of that name."""
    if name not in FORMATS:
        raise UsageError(f"there is no format {name[:64]!r}: a report is had as one of {', '.join(FORMATS)}")
    return name


def render(report: Report, name: str) -> bytes:
    """Return a report in a format. Raises UsageError where its library is not installed."""
    try:
        module = import_module(f"gpupool_broker.reports.{FORMATS[check_format(name)][0]}")
    except ImportError as error:
        raise UsageError(f"{name} needs the package {error.name}: install gpupool[reports]") from error
    body: bytes = module.render(report)
    return body


def file_name(report: Report, name: str) -> str:
    """Return what the file of a report is called; safe on every file system and in an HTTP header."""
    of = "".join(char if char.isascii() and (char.isalnum() or char in "-_") else "_" for char in report.tenant or "all")
    return f"gpupool-{report.name.replace('..', '_')}-{of}-by-{report.by}.{name}"
