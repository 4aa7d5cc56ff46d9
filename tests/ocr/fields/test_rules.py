"""Rule files: what is wrong is named, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpupool_ocr.fields.packaged import load_extractor, packaged_sources
from gpupool_ocr.fields.rules import MAX_FILE_BYTES, BadRules, parse, resolve

GOOD = """
name: note
marks: [{pattern: note}]
fields:
  day: {kind: date, find: [{label: day}]}
  sum: {kind: amount, find: [{label: sum}]}
"""


def test_the_packaged_rules_load_and_hold_the_promised_types() -> None:
    types = load_extractor().types
    assert set(types) == {
        *(
            "vat_invoice_special",
            "vat_invoice_ordinary",
            "train_ticket",
            "taxi_receipt",
            "hotel_bill",
            "bank_slip",
            "shop_receipt",
        )
    }
    assert {"number", "total", "seller_name"} <= set(types["vat_invoice_special"].fields)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "note.yaml"),
        ("- a list", "note.yaml"),
        ("name: [", "note.yaml"),
        (GOOD + "colour: red\n", "unknown field `colour`"),
        (GOOD.replace("label: day", "lable: day"), "unknown field `lable`.*fields"),
        (GOOD.replace("kind: date", "kind: 7"), "Expected `str`, got `int`"),
        ("a: &x [1]\nb: *x\n", "alias"),
        ("x: !!python/object/apply:os.system ['true']\n", "note.yaml"),
        ("x: " + "[" * 5000, "note.yaml"),
        ("# " + "x" * MAX_FILE_BYTES, "limit"),
    ],
)
def test_a_file_that_is_none_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(BadRules, match=complaint):
        parse(text, "note.yaml")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("kind: date", "kind: dat"), "no kind 'dat'.*date"),
        (("label: day", "label: '(a+)+$'"), "field day.*too long"),
        (("label: sum", "label: '('"), "field sum.*no regular expression"),
        (("marks: [{pattern: note}]", ""), "no marks"),
        (("name: note", "name: note\nextends: letter"), "extends letter, which there is not"),
        (("name: note", "name: note\nextends: note"), "circle"),
        (("name: note", "name: note\nidentity: [nummer]"), "no field 'nummer'.*day, sum"),
        (("name: note", "name: note\nchecks: [{check: add, of: [sum]}]"), "no check 'add'.*luhn"),
        (("name: note", "name: note\nchecks: [{check: sum, of: [sum]}]"), "needs `equals`"),
        (("name: note", "name: note\nchecks: [{check: luhn, of: [sum], equals: sum}]"), "no use for `equals`"),
        (("name: note", "name: note\nchecks: [{check: ascending, of: [sum]}]"), "over 1 fields"),
        (("name: note", "name: note\nchecks: [{check: same, of: [sum], equals: sum, tolerance: much}]"), "tolerance 'much'"),
    ],
)
def test_a_type_that_cannot_be_is_refused(change: tuple[str, str], complaint: str) -> None:
    rules = parse(GOOD.replace(*change), "note.yaml")
    with pytest.raises(BadRules, match=complaint):
        resolve({rules.name: rules})


def test_a_circle_of_several_is_named() -> None:
    types = {
        name: parse(GOOD.replace("name: note", f"name: {name}\nextends: {parent}"), name) for name, parent in ("ab", "bc", "ca")
    }
    with pytest.raises(BadRules, match="a > b > c > a"):
        resolve(types)


def test_a_type_takes_over_what_it_extends() -> None:
    heir = parse("name: heir\nextends: note\nfields: {day: {find: [{pattern: x}]}}", "heir.yaml")
    types = resolve({"note": parse(GOOD, "note.yaml"), "heir": heir})
    assert set(types["heir"].fields) == {"day", "sum"}
    assert (types["heir"].fields["day"].kind, types["note"].fields["day"].kind) == ("text", "date")


def test_a_folder_of_ones_own_adds_and_replaces_types(tmp_path: Path) -> None:
    (tmp_path / "note.yaml").write_text(GOOD)
    (tmp_path / "slip.yaml").write_text(GOOD.replace("name: note", "name: bank_slip"))
    types = load_extractor(tmp_path).types
    assert set(types["note"].fields) == set(types["bank_slip"].fields) == {"day", "sum"}
    assert "train_ticket" in types


def test_bad_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadRules, match="no rule files"):
        load_extractor(tmp_path)
    (tmp_path / "a.yaml").write_bytes("name: 发".encode("gbk"))
    with pytest.raises(BadRules, match=r"a\.yaml is not UTF-8"):
        load_extractor(tmp_path)
    with pytest.raises(BadRules, match="cannot be read"):
        load_extractor(tmp_path / "none.yaml")
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD)
    with pytest.raises(BadRules, match=r"b\.yaml: another file.*note"):
        load_extractor(tmp_path)


def test_every_packaged_file_is_named_after_its_type() -> None:
    for name, text in packaged_sources().items():
        assert parse(text, name).name == name.removesuffix(".yaml")
