"""Where bad cases are kept: a folder with a SQLite file of what is known of them, and a picture each.

Nothing here belongs on the path of a request: pictures are encoded as PNG and written. Call it from a thread of its own, and go
on where it raises. One store may be used by several threads and processes.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gpupool_ocr.cases.case import REASONS, STATUSES, Case, Reason, Status
from gpupool_ocr.cases.redaction import can_redact, redacted
from gpupool_ocr.pages import Image
from gpupool_ocr.synthesis.dataset import parse_labels
from gpupool_wire.errors import Conflict, NotFound, UsageError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cases (
    id TEXT PRIMARY KEY, business TEXT NOT NULL, reason TEXT NOT NULL, status TEXT NOT NULL, added_at REAL NOT NULL,
    size_bytes INTEGER NOT NULL, result TEXT NOT NULL, labels TEXT
);
CREATE INDEX IF NOT EXISTS cases_by_age ON cases (added_at);
CREATE TABLE IF NOT EXISTS opted_out (business TEXT PRIMARY KEY);
"""
_COLUMNS = "id, business, reason, status, added_at, size_bytes, result, labels"
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: What another process may hold the file for.
_BUSY_S = 10.0
MAX_LISTED = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """How long cases are kept, and how much of them; the oldest go first."""

    max_age_s: float = 90 * 86_400.0
    max_bytes: int = 10 * 1024**3

    def __post_init__(self) -> None:
        if self.max_age_s <= 0 or self.max_bytes < 0:
            raise UsageError(f"cases cannot be kept for {self.max_age_s} s and {self.max_bytes} bytes")


class CaseStore:
    """Bad cases in a folder. `redact` names the fields that are taken out of every page before it is kept."""

    def __init__(self, folder: Path, *, retention: Retention | None = None, redact: Collection[str] = ()) -> None:
        self.folder, self.retention, self.redact = folder, retention or Retention(), frozenset(redact)
        self._pictures = folder / "pages"
        self._lock = threading.Lock()
        try:
            self._pictures.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(folder / "cases.sqlite", timeout=_BUSY_S, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise UsageError(f"{folder} cannot hold bad cases: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def add(
        self, case_id: str, image: Image | None, result: Mapping[str, Any], *, reason: Reason, business: str, now: float
    ) -> bool:
        """Keep a page (uint8, BGR; None where there is no picture) and what was read; False where its business has opted out.

        `result` is a page as `gpupool ocr --json` has it, with `type` and `fields` where it was understood. With fields to take
        out, a page that was not understood is kept as a fact only, without picture and lines. Raises Conflict for an id that is
        there.
        """
        if not _ID.fullmatch(case_id) or reason not in REASONS:
            known = ", ".join(REASONS)
            raise UsageError(f"a case {case_id!r} for {reason!r}: ids are 1 to 64 of A-Z a-z 0-9 _ -, reasons are {known}")
        if business in self.opted_out():
            return False
        if self.redact and not can_redact(result):
            image, result = None, {}
        elif self.redact:
            image, result = redacted(image, result, self.redact)
        size = self._write(case_id, image)
        row = (case_id, business, reason, "open", now, size, json.dumps(result, ensure_ascii=False), None)
        try:
            with self._lock:
                self._db.execute(f"INSERT INTO cases ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608 - constant
        except sqlite3.IntegrityError as error:
            raise Conflict(f"there is a case {case_id} already") from error
        return True

    def _write(self, case_id: str, image: Image | None) -> int:
        if image is None:
            return 0
        import cv2

        data = cv2.imencode(".png", image)[1].tobytes()
        path = self._pictures / f"{case_id}.png"
        try:
            # The picture is there before the row that tells of it, and an id that is taken keeps its own.
            with path.open("xb") as file:
                file.write(data)
        except FileExistsError as error:
            raise Conflict(f"there is a case {case_id} already") from error
        return len(data)

    def list(
        self,
        *,
        status: Status | None = None,
        reason: Reason | None = None,
        business: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Case]:
        """Return cases, the newest first."""
        if (
            (status and status not in STATUSES)
            or (reason and reason not in REASONS)
            or not 0 <= limit <= MAX_LISTED
            or offset < 0
        ):
            raise UsageError(
                f"status {status} must be one of {', '.join(STATUSES)}, reason {reason} one of {', '.join(REASONS)}, "
                f"limit {limit} at most {MAX_LISTED}, offset {offset} not negative"
            )
        wanted = {"status": status, "reason": reason, "business": business}
        where = " AND ".join(["1", *(f"{name} = :{name}" for name, value in wanted.items() if value is not None)])
        query = f"SELECT {_COLUMNS} FROM cases WHERE {where} ORDER BY added_at DESC, id LIMIT :limit OFFSET :offset"  # noqa: S608
        with self._lock:
            rows = self._db.execute(query, {**wanted, "limit": limit, "offset": offset}).fetchall()
        return [_case(row) for row in rows]

    def get(self, case_id: str) -> Case:
        """Return a case. Raises NotFound."""
        with self._lock:
            row = self._db.execute(f"SELECT {_COLUMNS} FROM cases WHERE id = ?", (case_id,)).fetchone()  # noqa: S608 - constant
        if row is None:
            raise NotFound(f"there is no case {case_id}")
        return _case(row)

    def picture(self, case_id: str) -> bytes | None:
        """Return a case's picture as PNG, or None where none is kept. Raises NotFound."""
        return (self._pictures / f"{case_id}.png").read_bytes() if self.get(case_id).size_bytes else None

    def label(self, case_id: str, labels: Mapping[str, Any]) -> Case:
        """Say what is right of a case: `lines` (polygon, text) and `fields`. Raises NotFound, BadDataset for other labels."""
        self.get(case_id)
        parse_labels(labels, f"case {case_id}")
        with self._lock:
            written = json.dumps(dict(labels), ensure_ascii=False)
            self._db.execute("UPDATE cases SET labels = ?, status = 'labelled' WHERE id = ?", (written, case_id))
        return self.get(case_id)

    def remove(self, case_id: str) -> None:
        """Forget a case. Raises NotFound."""
        self.get(case_id)
        self._forget([case_id])

    def _forget(self, ids: Collection[str]) -> None:
        with self._lock:
            self._db.executemany("DELETE FROM cases WHERE id = ?", [(case_id,) for case_id in ids])
        for case_id in ids:
            (self._pictures / f"{case_id}.png").unlink(missing_ok=True)

    def export(self, folder: Path, business: str | None = None) -> int:
        """Write labelled cases that have a picture as pages and labels (synthesis/dataset.py) into a folder; return how many."""
        count, offset = 0, 0
        folder.mkdir(parents=True, exist_ok=True)
        while cases := self.list(status="labelled", business=business, limit=MAX_LISTED, offset=offset):
            offset += len(cases)
            for case in cases:
                picture = self.picture(case.id)
                if picture is not None:
                    (folder / f"{case.id}.png").write_bytes(picture)
                    (folder / f"{case.id}.json").write_text(json.dumps(case.labels, ensure_ascii=False) + "\n", "utf-8")
                    count += 1
        return count

    def prune(self, now: float) -> int:
        """Forget what is older than the retention, then the oldest until the rest fits its bytes; return how many."""
        with self._lock:
            rows = self._db.execute("SELECT id, added_at, size_bytes FROM cases ORDER BY added_at DESC, id").fetchall()
        kept_bytes, gone = 0, []
        for case_id, added_at, size in rows:
            kept_bytes += size
            if now - added_at > self.retention.max_age_s or kept_bytes > self.retention.max_bytes:
                gone.append(case_id)
        self._forget(gone)
        return len(gone)

    def opted_out(self) -> set[str]:
        """Return the businesses whose pages are not kept."""
        with self._lock, closing(self._db.execute("SELECT business FROM opted_out")) as rows:
            return {row[0] for row in rows}

    def opt_out(self, business: str) -> int:
        """Keep no page of a business any more, and forget those that are kept; return how many."""
        with self._lock:
            self._db.execute("INSERT OR IGNORE INTO opted_out VALUES (?)", (business,))
            held = [row[0] for row in self._db.execute("SELECT id FROM cases WHERE business = ?", (business,))]
        self._forget(held)
        return len(held)

    def opt_in(self, business: str) -> None:
        """Keep pages of a business again."""
        with self._lock:
            self._db.execute("DELETE FROM opted_out WHERE business = ?", (business,))


def _case(row: tuple[Any, ...]) -> Case:
    case_id, business, reason, status, added_at, size, result, labels = row
    return Case(
        id=case_id,
        business=business,
        reason=reason,
        status=status,
        added_at=added_at,
        size_bytes=size,
        result=json.loads(result),
        labels=json.loads(labels) if labels else None,
    )
