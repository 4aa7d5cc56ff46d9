"""Lines to documents, without a model."""

from __future__ import annotations

import random

import pytest

from gpupool_ocr.fields.checks import run_check
from gpupool_ocr.fields.extraction import Extractor
from gpupool_ocr.fields.geometry import MAX_LINE_CHARS, Sheet, TextLine
from gpupool_ocr.fields.rules import as_types, resolve
from gpupool_ocr.synthesis.fonts import NoFont, fonts_for
from gpupool_ocr.synthesis.templates import SAMPLE, TEMPLATES
from gpupool_ocr.synthesis.wording import Wording
from tests.ocr.fields.conftest import line


def test_a_value_is_found_behind_right_of_or_below_its_label(extractor: Extractor) -> None:
    head = [line("市出租汽车专用发票", 100, 0), line("上车 09:10", 0, 400), line("下车", 0, 440), line("09:41", 120, 441)]
    sheet = [
        *head,
        line("发票代码：137021910032", 0, 100),
        line("发票号码", 0, 160),
        line("08412593", 0, 190),
        line("金额 31.00元", 0, 480),
    ]
    document = extractor.extract(sheet)
    assert document.type == "taxi_receipt"
    values = document.normalised()
    assert (values["code"], values["number"], values["start"], values["end"]) == ("137021910032", "08412593", "09:10", "09:41")
    assert document.missing == ("date",)
    assert not document.is_sound


def test_position_and_confidence_are_those_of_the_value_not_of_its_line(extractor: Extractor) -> None:
    whole = line("开票日期:2026年10月14日", 100, 50, score=0.8)
    document = extractor.extract([line("增值税专用发票"), whole], "vat_invoice_special")
    day = document.fields["date"]
    assert (day.value, day.normalised, day.confidence) == ("2026年10月14日", "2026-10-14", 0.8)
    xs = [x for x, _ in day.polygon]
    assert whole.left + 0.3 * (whole.right - whole.left) < min(xs) < max(xs) == whole.right


def test_a_row_that_lies_askew_is_followed(extractor: Extractor) -> None:
    # Three degrees: at the far end the row is two heights lower.
    label = TextLine.of([(0, 0), (120, 6), (120, 26), (0, 20)], "合计 Total CNY")
    wrong, right = line("9.99", 800, 0), TextLine.of([(800, 42), (880, 46), (880, 66), (800, 62)], "1901.00")
    head = [line("宾客账单", 300, -200), line("入住 2026-01-02", 0, -120), line("离店 2026-01-01", 0, -80)]
    document = extractor.extract([*head, label, wrong, right])
    assert document.fields["total"].normalised == "1901.00"
    assert [check.passed for check in document.checks] == [False, None]


def test_a_page_that_is_nothing_known_is_unknown(extractor: Extractor) -> None:
    for lines in ([], [line("hello")], [line("")], [line("x" * 5000)] * 3):
        document = extractor.extract(lines)
        assert (document.type, document.fields, document.is_sound) == ("unknown", {}, False)


def test_long_lines_are_cut() -> None:
    assert len(line("x" * 1000).text) == MAX_LINE_CHARS


def test_full_width_signs_are_half_width_ones(extractor: Extractor) -> None:
    document = extractor.extract([line("发票号码：１２３４５６７８", 0, 0)], "vat_invoice_special")
    assert document.fields["number"].normalised == "12345678"


def test_two_values_of_one_row_are_told_apart(extractor: Extractor) -> None:
    row = [line("合计", 0, 100), line("￥7880.00", 400, 100), line("￥633.80", 700, 101)]
    total = [line("价税合计(大写)", 0, 140), line("捌仟伍佰壹拾叁元捌角整", 200, 140), line("(小写)￥8513.80", 700, 140)]
    document = extractor.extract([*row, *total], "vat_invoice_ordinary")
    assert (document.normalised()["amount"], document.normalised()["tax"]) == ("7880.00", "633.80")
    assert [check.passed for check in document.checks] == [True, True, None]


def test_a_wrong_sum_is_said_with_its_numbers(extractor: Extractor) -> None:
    row = [line("合计", 0, 100), line("￥7880.00", 400, 100), line("￥633.80", 700, 101), line("(小写)￥8514.80", 700, 140)]
    check = extractor.extract(row, "vat_invoice_special").checks[0]
    assert (check.passed, check.message) == (False, "7880.00 + 633.80 = 8513.80, against 8514.80")


@pytest.mark.parametrize("kind", TEMPLATES)
def test_what_the_generator_draws_is_found_to_the_letter(extractor: Extractor, kind: str) -> None:
    """The text of the drawn labels, with no model in between: rules and templates fit each other."""
    try:
        font = fonts_for(SAMPLE)[0]
    except NoFont as error:
        pytest.skip(str(error))
    for seed in range(12):
        canvas, fields = TEMPLATES[kind](Wording(random.Random(seed)), (font, font))
        lines = [TextLine.of(label.polygon.tolist(), label.text) for label in canvas.labels]
        random.Random(seed).shuffle(lines)
        lines.sort(key=lambda line: round(line.top / 12))
        document = extractor.extract(lines)
        assert document.type == kind
        found = document.normalised()
        assert {name: found.get(name) for name in fields} == fields
        assert document.is_sound, document.checks
        assert document.identity


def test_a_document_type_needs_no_code() -> None:
    rules = as_types(
        {
            "name": "parcel",
            "marks": [{"pattern": "parcel"}],
            "fields": {
                "net": {"kind": "amount", "find": [{"label": "net"}]},
                "gross": {"kind": "amount", "find": [{"label": "gross"}]},
                "to": {"find": [{"pattern": "^to", "rows": 3, "until": "^from", "join": " / ", "drop": "^to:? ?"}]},
            },
            "checks": [{"check": "product", "of": ["net", "net"], "equals": "gross"}],
        }
    )
    rows = ["PARCEL", "to: Ann", "Mill Street", "from Bob", "net 1.50", "gross 2.25"]
    document = Extractor(resolve({"parcel": rules})).extract([line(text, 0, 30 * row) for row, text in enumerate(rows)])
    assert document.normalised() == {"net": "1.50", "gross": "2.25", "to": "Ann / Mill Street"}
    assert document.checks[0].passed


def test_pick_takes_the_last_or_the_largest() -> None:
    def total_by(pick: str) -> str:
        rules = as_types(
            {
                "name": "t",
                "marks": [{"pattern": "."}],
                "fields": {"sum": {"kind": "amount", "find": [{"label": "sum", "pick": pick}]}},
            }
        )
        lines = [line(text, 0, 30 * row) for row, text in enumerate(["sum 5.00", "sum 9.00", "sum 7.00"])]
        return Extractor(resolve({"t": rules})).extract(lines).normalised()["sum"]

    assert [total_by(pick) for pick in ("first", "last", "largest")] == ["5.00", "7.00", "9.00"]


def test_a_check_on_a_missing_field_is_open() -> None:
    result = run_check("sum", {"a": "1"}, ["a", "b"], "c", "0.01")
    assert (result.passed, result.message) == (None, "not checked: b, c missing")


def test_the_empty_sheet_has_an_extent() -> None:
    assert (Sheet([]).width, Sheet([]).height) == (1.0, 1.0)
