"""Where bad cases are kept: a folder with a SQLite file of what is known of them, and a picture each.

Nothing here belongs on the path of a request: pictures are encoded as PNG and written. Call it from a thread of its own, and go
on where it raises. One store may be used by several threads and processes.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gpupool_ocr.cases.case import REASONS, STATUSES, Case, Reason, Status
from gpupool_ocr.cases.redaction import can_redact, check_labels, redacted
from gpupool_ocr.pages import Image
from gpupool_ocr.synthesis.dataset import Example, parse_labels
from gpupool_wire.errors import Conflict, NotFound, UsageError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cases (
    id TEXT PRIMARY KEY, business TEXT NOT NULL, reason TEXT NOT NULL, status TEXT NOT NULL, added_at REAL NOT NULL,
    size_bytes INTEGER NOT NULL, result TEXT NOT NULL, labels TEXT,
    tenant TEXT NOT NULL DEFAULT 'default', trace TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS cases_by_age ON cases (added_at);
CREATE TABLE IF NOT EXISTS opted_out (business TEXT PRIMARY KEY);
"""
#: Columns that stores of older versions lack.
_ADDED = {"tenant": "TEXT NOT NULL DEFAULT 'default'", "trace": "TEXT NOT NULL DEFAULT ''"}
_COLUMNS = "id, business, reason, status, added_at, size_bytes, result, labels, tenant, trace"
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: What another process may hold the file for.
_BUSY_S = 10.0
MAX_LISTED = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """How long cases are kept, and how much of them; the oldest go first."""

    max_age_s: float = 90 * 86_400.0
    max_bytes: int = 10 * 1024**3
    #: A case without a picture has no bytes of its own, and still takes room.
    max_cases: int = 100_000

    def __post_init__(self) -> None:
        if self.max_age_s <= 0 or self.max_bytes < 0 or self.max_cases < 0:
            raise UsageError(f"cases cannot be kept for {self.max_age_s} s, {self.max_bytes} bytes and {self.max_cases} in all")


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
            self._add_columns()
        except (OSError, sqlite3.Error) as error:
            raise UsageError(f"{folder} cannot hold bad cases: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _add_columns(self) -> None:
        there = {row[1] for row in self._db.execute("PRAGMA table_info(cases)")}
        for name in _ADDED.keys() - there:
            self._db.execute(f"ALTER TABLE cases ADD COLUMN {name} {_ADDED[name]}")

    def add(
        self,
        case_id: str,
        image: Image | None,
        result: Mapping[str, Any],
        *,
        reason: Reason,
        business: str,
        now: float,
        tenant: str = "default",
        trace: str = "",
        redact: Collection[str] = (),
    ) -> bool:
        """Keep a page (uint8, BGR; None where there is no picture) and what was read; False where its business has opted out.

        `result` is a page as `gpupool ocr --json` has it, with `type` and `fields` where it was understood. With fields to take
        out (the store's and `redact`), a page that was not understood is kept as a fact only, without picture and lines. Raises
        Conflict for an id that is there.
        """
        if not _ID.fullmatch(case_id) or reason not in REASONS:
            known = ", ".join(REASONS)
            raise UsageError(f"a case {case_id!r} for {reason!r}: ids are 1 to 64 of A-Z a-z 0-9 _ -, reasons are {known}")
        if business in self.opted_out():
            return False
        names = self.redact | frozenset(redact)
        if names and not can_redact(result, names):
            error = result.get("error") or {}
            image, result = None, ({"error": {"code": error["code"]}} if "code" in error else {})
        elif names:
            image, result = redacted(image, result, names)
        size = self._write(case_id, image)
        row = (case_id, business, reason, "open", now, size, json.dumps(result, ensure_ascii=False), None, tenant, trace)
        try:
            with self._lock:
                self._db.execute(f"INSERT INTO cases ({_COLUMNS}) VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608
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
        except OSError:
            path.unlink(missing_ok=True)  # a full disk keeps no half of a picture
            raise
        return len(data)

    def list(
        self,
        *,
        status: Status | None = None,
        reason: Reason | None = None,
        business: str | None = None,
        trace: str | None = None,
        tenants: Collection[str] | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Case]:
        """Return cases, the newest first; with `tenants`, of these only."""
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
        wanted: dict[str, Any] = {"status": status, "reason": reason, "business": business, "trace": trace}
        conditions = [f"{name} = :{name}" for name, value in wanted.items() if value is not None]
        if tenants is not None:
            wanted |= {f"tenant_{number}": tenant for number, tenant in enumerate(sorted(tenants))}
            conditions.append(f"tenant IN ({', '.join(f':{name}' for name in wanted if name.startswith('tenant_'))})")
        where = " AND ".join(["1", *conditions])
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
        try:
            return (self._pictures / f"{case_id}.png").read_bytes() if self.get(case_id).size_bytes else None
        except FileNotFoundError:
            return None  # forgotten by another process at this moment

    def label(self, case_id: str, labels: Mapping[str, Any]) -> Case:
        """Say what is right of a case: `lines` (polygon, text) and `fields`.

        Raises NotFound, BadDataset for other labels, Redacted for what was taken out of the page.
        """
        return self._set_labels(case_id, labels, {"status": "labelled"})

    def correct(self, case_id: str, labels: Mapping[str, Any], *, is_complete: bool = False) -> Case:
        """Keep labels that a sender corrected. Unless they are complete the case stays open: the rest of it is nobody's word.

        Raises what `label` raises.
        """
        return self._set_labels(case_id, labels, {"reason": "corrected", **({"status": "labelled"} if is_complete else {})})

    def _set_labels(self, case_id: str, labels: Mapping[str, Any], changes: Mapping[str, str]) -> Case:
        case = self.get(case_id)
        lines, _, _ = parse_labels(labels, f"case {case_id}")
        check_labels(labels, case.result)
        if case.result.get("width"):  # `eval` and `tune` would refuse it, and all that is exported with it
            Example(image=Path(case_id), lines=lines).check_size(case.result["width"], case.result["height"])
        columns = {"labels": json.dumps(dict(labels), ensure_ascii=False), **changes}
        with self._lock:
            parts = ", ".join(f"{name} = :{name}" for name in columns)
            self._db.execute(f"UPDATE cases SET {parts} WHERE id = :id", {**columns, "id": case_id})  # noqa: S608 - constant
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
        count = 0
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.examples(business=business):
            (folder / name).write_bytes(content)
            count += name.endswith(".png")
        return count

    def examples(self, *, business: str | None = None, tenants: Collection[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield the files of `export`, by name: a picture, then its labels."""
        offset = 0
        while cases := self.list(status="labelled", business=business, tenants=tenants, limit=MAX_LISTED, offset=offset):
            offset += len(cases)
            for case in cases:
                picture = self.picture(case.id)
                if picture is not None:
                    yield f"{case.id}.png", picture
                    yield f"{case.id}.json", (json.dumps(case.labels, ensure_ascii=False) + "\n").encode()

    def prune(self, now: float) -> int:
        """Forget what is older than the retention, then the oldest until the rest fits it; return how many."""
        with self._lock:
            rows = self._db.execute("SELECT id, added_at, size_bytes FROM cases ORDER BY added_at DESC, id").fetchall()
        kept_bytes, gone, most = 0, [], self.retention
        for number, (case_id, added_at, size) in enumerate(rows):
            kept_bytes += size
            if now - added_at > most.max_age_s or kept_bytes > most.max_bytes or number >= most.max_cases:
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
    case_id, business, reason, status, added_at, size, result, labels, tenant, trace = row
    return Case(
        id=case_id,
        business=business,
        reason=reason,
        status=status,
        added_at=added_at,
        size_bytes=size,
        result=json.loads(result),
        labels=json.loads(labels) if labels else None,
        tenant=tenant,
        trace=trace,
    )
