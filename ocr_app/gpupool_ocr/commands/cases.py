"""`gpupool ocr cases`: the pages that were read badly, to be labelled and learned from."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpupool_ocr.commands.options import needs_extra
from gpupool_wire.errors import UsageError

if TYPE_CHECKING:
    from gpupool_ocr.cases.store import CaseStore

Folder = Annotated[Path, typer.Argument(help="The store's folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Business = Annotated[str | None, typer.Option(help="Only of this business.")]


def register(group: typer.Typer) -> None:
    """Add the group `cases`."""
    cases = typer.Typer(no_args_is_help=True, help="Pages that were read badly: list, label, export, prune, opt out.")
    for command in (add, list_, show, label, remove, export, prune, opt_out, opt_in):
        cases.command(command.__name__.strip("_").replace("_", "-"))(command)
    group.add_typer(cases, name="cases")


def _store(folder: Path, *, must_exist: bool = True) -> CaseStore:
    with needs_extra():
        from gpupool_ocr.cases.store import CaseStore
    if must_exist and not (folder / "cases.sqlite").exists():
        raise UsageError(f"{folder} holds no bad cases")
    return CaseStore(folder)


def add(
    folder: Folder,
    pages: Annotated[Path, typer.Argument(help="A folder of labelled pages.")],
    business: Annotated[str, typer.Option(help="Whose pages they are.")] = "default",
) -> None:
    """Take labelled pages into the store as corrected cases, as a service does with what its users correct."""
    store = _store(folder, must_exist=False)
    from gpupool_ocr.pages import load_pages
    from gpupool_ocr.synthesis.dataset import find_examples

    with store:
        for example in find_examples(pages):
            kept = store.add(
                example.image.stem,
                next(load_pages(example.image)).image,
                {},
                reason="corrected",
                business=business,
                now=time.time(),
            )
            if kept:
                store.label(example.image.stem, example.to_json())
            typer.echo(f"{example.image.stem}{'' if kept else ': not kept, its business has opted out'}")


def list_(
    folder: Folder,
    status: Annotated[str | None, typer.Option(help="open or labelled.")] = None,
    reason: Annotated[str | None, typer.Option(help="low_confidence, corrected or failed.")] = None,
    business: Business = None,
    limit: Annotated[int, typer.Option(help="At most so many.")] = 100,
    as_json: Json = False,
) -> None:
    """List cases, the newest first."""
    with _store(folder) as store:
        found = store.list(status=status, reason=reason, business=business, limit=limit)  # type: ignore[arg-type]
    for case in found:
        day = time.strftime("%Y-%m-%d %H:%M", time.gmtime(case.added_at))
        line = f"{case.id}  {day}  {case.business}  {case.reason}  {case.status}  {case.size_bytes} bytes"
        typer.echo(json.dumps(case.to_json(), ensure_ascii=False) if as_json else line)


def show(
    folder: Folder,
    case_id: Annotated[str, typer.Argument(help="The case.")],
    picture: Annotated[Path | None, typer.Option(help="Write its picture here.")] = None,
) -> None:
    """Print a case as JSON."""
    with _store(folder) as store:
        typer.echo(json.dumps(store.get(case_id).to_json(), ensure_ascii=False))
        if picture and (data := store.picture(case_id)):
            picture.write_bytes(data)


def label(
    folder: Folder,
    case_id: Annotated[str, typer.Argument(help="The case.")],
    labels: Annotated[Path, typer.Argument(help='A file with {"lines": [{"polygon": ..., "text": ...}], "fields": {...}}.')],
) -> None:
    """Say what is right of a case."""
    from gpupool_ocr.synthesis.dataset import read_labels

    with _store(folder) as store:
        store.label(case_id, read_labels(labels))
    typer.echo(f"{case_id} is labelled")


def remove(folder: Folder, case_id: Annotated[str, typer.Argument(help="The case.")]) -> None:
    """Forget a case."""
    with _store(folder) as store:
        store.remove(case_id)
    typer.echo(f"{case_id} is forgotten")


def export(
    folder: Folder, target: Annotated[Path, typer.Argument(help="Where pages and labels are written.")], business: Business = None
) -> None:
    """Write labelled cases as pages and labels, as `eval` and `tune` read them."""
    with _store(folder) as store:
        typer.echo(f"{store.export(target, business)} cases written to {target}")


def prune(
    folder: Folder,
    days: Annotated[float, typer.Option(help="Forget what is older.")] = 90.0,
    max_mib: Annotated[int, typer.Option(help="Then the oldest, until the rest is no larger.")] = 10 * 1024,
) -> None:
    """Forget old cases, and the oldest ones of too many."""
    from gpupool_ocr.cases.store import Retention

    with _store(folder) as store:
        store.retention = Retention(max_age_s=days * 86_400, max_bytes=max_mib * 1024**2)
        typer.echo(f"{store.prune(time.time())} cases are forgotten")


def opt_out(folder: Folder, business: Annotated[str, typer.Argument(help="Whose pages.")]) -> None:
    """Keep no page of a business any more, and forget those that are kept."""
    with _store(folder, must_exist=False) as store:
        typer.echo(f"pages of {business} are not kept any more; {store.opt_out(business)} cases are forgotten")


def opt_in(folder: Folder, business: Annotated[str, typer.Argument(help="Whose pages.")]) -> None:
    """Keep pages of a business again."""
    with _store(folder) as store:
        store.opt_in(business)
    typer.echo(f"pages of {business} are kept again")
