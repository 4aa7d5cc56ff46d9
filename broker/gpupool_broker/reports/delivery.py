"""A report that was made, into its folder and into the mail. What fails says why, and is tried again."""

from __future__ import annotations

import os
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from gpupool_broker.core.accounting.schedules import MadeReport
from gpupool_broker.reports.formats import FORMATS
from gpupool_broker.reports.orders import Place
from gpupool_wire.errors import UsageError

SMTP_TIMEOUT_S: Final = 20.0
PORTS: Final = {"smtp": 25, "smtps": 465, "smtp+starttls": 587}


def check_folder(name: str) -> str:
    """Return the name of a folder below the broker's; raise UsageError where it would lie elsewhere."""
    path = Path(name)
    if not name or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise UsageError(f"{name[:64]!r} is no folder below the broker's folder of reports: give a name, such as finance/monthly")
    return name


def check_smtp(url: str) -> str:
    """Return a mail server's address; raise UsageError where it is none."""
    try:
        parts = urlsplit(url)
        is_fine = parts.scheme in PORTS and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_fine = False
    if not is_fine:
        # Never with the password that may be in it.
        raise UsageError("the mail server is not understood: smtp://, smtps:// or smtp+starttls://[user:password@]host[:port]")
    return url


def deliver(made: MadeReport, body: bytes, place: Place, now_ms: int) -> MadeReport:
    """Return what has become of a report: stored and mailed as far as that went, with the trouble where it did not."""
    troubles: list[str] = []
    stored_at, mailed_ms = made.stored_at, made.mailed_ms
    if not made.is_stored and made.to_folder is not None:
        try:
            stored_at = _store(made, body, Path(place.folder) / check_folder(made.to_folder))
        except OSError as error:
            troubles.append(f"cannot be written below {place.folder}: {error.strerror or error}")
    if not made.is_mailed:
        try:
            _mail(made, body, place)
            mailed_ms = now_ms
        except (OSError, smtplib.SMTPException, UsageError) as error:
            troubles.append(f"cannot be mailed: {error}")
    return msgspec.structs.replace(
        made, stored_at=stored_at, mailed_ms=mailed_ms, tries=made.tries + 1, trouble="; ".join(troubles)[:1024]
    )


def _store(made: MadeReport, body: bytes, folder: Path) -> str:
    """Write a report so that nobody ever reads half of it; return its path."""
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    path = folder / made.file_name
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return str(path)


def _mail(made: MadeReport, body: bytes, place: Place) -> None:
    if not place.smtp:
        raise UsageError("no mail server is set: start the broker with --smtp")
    message = EmailMessage()
    message["From"] = place.mail_from or "gpupool@localhost"
    message["To"] = ", ".join(made.mail_to)
    message["Subject"] = f"GPU pool: report {made.period} by {made.by}" + (f" of {made.tenant}" if made.tenant else "")
    # A mail that was sent twice, because the broker fell between sending and noting it, is one mail to the reader.
    message["Message-ID"] = f"<{made.report_id}@gpupool>"
    message.set_content(f"The report of {made.period} ({made.zone}) by {made.by} is attached.\nSHA-256 {made.sha256}\n")
    main, _, sub = FORMATS[made.format][1].partition(";")[0].partition("/")
    message.add_attachment(body, maintype=main, subtype=sub, filename=made.file_name)
    with _server(check_smtp(place.smtp)) as server:
        server.send_message(message)


@contextmanager
def _server(url: str) -> Iterator[smtplib.SMTP]:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    secure = ssl.create_default_context()
    server: smtplib.SMTP
    if parts.scheme == "smtps":
        server = smtplib.SMTP_SSL(host, port, timeout=SMTP_TIMEOUT_S, context=secure)
    else:
        server = smtplib.SMTP(host, port, timeout=SMTP_TIMEOUT_S)
    with server:
        if parts.scheme == "smtp+starttls":
            server.starttls(context=secure)
        if parts.username:
            server.login(unquote(parts.username), unquote(parts.password or ""))
        yield server
