"""`gpupool ocr fields` on the sample pages."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gpupool_ocr import samples
from gpupool_ocr.cli import register


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return app


def test_an_invoice_and_its_copy(app: typer.Typer, tmp_path: Path) -> None:
    invoice = samples.paths()[2]
    shutil.copy(invoice, tmp_path / "copy.png")
    done = CliRunner().invoke(
        app, ["ocr", "fields", "--local", "--json", str(invoice), str(tmp_path / "copy.png"), str(tmp_path / "no.png")]
    )
    assert done.exit_code == 1
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["type"] == "vat_invoice_special"
    assert first["fields"]["total"]["normalised"] == "8513.80"
    assert [check["passed"] for check in first["checks"][:2]] == [True, True]
    assert (first["duplicate_of"], second["duplicate_of"]) == ("", f"{invoice} (identity)")
    assert "no.png does not exist" in done.stderr


def test_a_table(app: typer.Typer, tmp_path: Path) -> None:
    ticket, bill = samples.paths()[1], samples.paths()[3]
    out = tmp_path / "out.csv"
    done = CliRunner().invoke(app, ["ocr", "fields", "--local", "--csv", "-o", str(out), str(ticket), str(bill)])
    assert (done.exit_code, done.output) == (0, "")
    one, two = csv.DictReader(out.read_text("utf-8").splitlines())
    assert (one["type"], one["train"], one["passenger"], one["total"]) == ("train_ticket", "G2187", "林知远", "")
    assert (two["type"], two["total"], two["train"]) == ("hotel_bill", "1901.00", "")


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [("--type", "letter", "no document type"), ("--verify", "tax", "no verifier"), ("--rules", "/none", "cannot be read")],
)
def test_what_there_is_not_is_named_before_anything_is_read(app: typer.Typer, option: str, value: str, complaint: str) -> None:
    done = CliRunner().invoke(app, ["ocr", "fields", "--local", option, value, str(samples.paths()[0])])
    assert done.exit_code != 0
    assert complaint in str(done.exception)
    assert done.stdout == ""
