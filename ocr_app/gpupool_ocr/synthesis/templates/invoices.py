"""VAT invoices: the electronic form with parties side by side, and the paper form with the seller at the foot."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from gpupool_ocr.fields.chinese import write_amount
from gpupool_ocr.synthesis.fonts import Font
from gpupool_ocr.synthesis.page import BLUE, RED, Canvas
from gpupool_ocr.synthesis.wording import Wording

_CENT = Decimal("0.01")
_ITEMS = (
    "*信息技术服务*文档识别",
    "*信息技术服务*系统维护",
    "*电子设备*扫描仪",
    "*印刷品*图书",
    "*物流服务*运输",
    "*纸制品*复印纸",
)
_COLUMNS = [(80, "la"), (500, "ra"), (640, "ra"), (820, "ra"), (1000, "ra"), (1140, "ra"), (1320, "ra")]
_HEADINGS = ("项目名称", "单位", "数量", "单价", "金额", "税率", "税额")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Item:
    name: str
    unit: str
    count: int
    price: Decimal
    rate: int

    @property
    def amount(self) -> Decimal:
        return self.price * self.count

    @property
    def tax(self) -> Decimal:
        return (self.amount * self.rate / 100).quantize(_CENT, ROUND_HALF_UP)

    def cells(self) -> tuple[str, ...]:
        return (
            self.name,
            self.unit,
            str(self.count),
            f"{self.price:.2f}",
            f"{self.amount:.2f}",
            f"{self.rate}%",
            f"{self.tax:.2f}",
        )


def vat_invoice_special(wording: Wording, fonts: tuple[Font, Font]) -> tuple[Canvas, dict[str, str]]:
    """增值税专用发票, electronic or on paper."""
    return _invoice(wording, fonts, "增值税专用发票")


def vat_invoice_ordinary(wording: Wording, fonts: tuple[Font, Font]) -> tuple[Canvas, dict[str, str]]:
    """增值税普通发票, electronic or on paper."""
    return _invoice(wording, fonts, "增值税普通发票")


def _invoice(wording: Wording, fonts: tuple[Font, Font], title: str) -> tuple[Canvas, dict[str, str]]:
    rng = wording.rng
    items = [
        _Item(
            name=name,
            unit=rng.choice("次台月册箱"),
            count=rng.randint(1, 40),
            price=wording.money(10, 900),
            rate=rng.choice((3, 6, 9, 13)),
        )
        for name in rng.sample(_ITEMS, rng.randint(1, 3))
    ]
    amount, tax = sum((item.amount for item in items), Decimal(0)), sum((item.tax for item in items), Decimal(0))
    day, total = wording.day(), amount + tax
    fields = {
        "date": day.isoformat(),
        "buyer_name": wording.firm(),
        "buyer_id": wording.credit_code(),
        "seller_name": wording.firm(),
        "seller_id": wording.credit_code(),
        "amount": f"{amount:.2f}",
        "tax": f"{tax:.2f}",
        "total": f"{total:.2f}",
        "total_capitals": f"{total:.2f}",
    }
    canvas = Canvas(1400, 920, fonts)
    written_day = f"{day.year}年{day.month:02}月{day.day:02}日"
    draw = _electronic if rng.random() < 0.5 else _paper
    fields |= draw(canvas, wording, title, fields, written_day)
    _table(canvas, items, 276)
    _totals(canvas, amount, tax)
    canvas.text(80, 860, f"开票人：{wording.person()}", 24)
    canvas.text(640, 860, f"复核：{wording.person()}", 24)
    return canvas, fields


def _frame(canvas: Canvas) -> None:
    for y in (130, 270, 320, 560, 620, 680, 840):
        canvas.rule(y, 60, 1340, RED)
    for x in (60, 1340):
        canvas.bar(x, 130, 840, RED)


def _electronic(canvas: Canvas, wording: Wording, title: str, fields: dict[str, str], day: str) -> dict[str, str]:
    """Draw head and parties of a fully digital invoice: one number of 20 digits, no code."""
    number = f"2{wording.digits(19)}"
    canvas.text(560, 34, f"电子发票（{title}）", 44, anchor="ma", ink=RED, bold=True)
    canvas.text(1340, 44, f"发票号码：{number}", 24, anchor="ra")
    canvas.text(1340, 82, f"开票日期：{day}", 24, anchor="ra")
    _frame(canvas)
    canvas.bar(700, 130, 270, RED)
    for x, who, party in ((80, "购买方", "buyer"), (720, "销售方", "seller")):
        canvas.text(x, 150, f"{who}名称：{fields[f'{party}_name']}", 26, ink=BLUE)
        canvas.text(x, 204, f"统一社会信用代码/纳税人识别号：{fields[f'{party}_id']}", 22, ink=BLUE)
    canvas.text(80, 700, f"备注：合同编号 YZ-{wording.digits(8)}", 26, ink=BLUE)
    return {"number": number}


def _paper(canvas: Canvas, wording: Wording, title: str, fields: dict[str, str], day: str) -> dict[str, str]:
    """Draw head and parties of a paper invoice: code and number at the top, the seller at the foot."""
    code, number = wording.digits(10 if "专用" in title else 12), wording.digits(8)
    canvas.text(700, 34, title, 44, anchor="ma", ink=RED, bold=True)
    canvas.text(80, 44, f"发票代码：{code}", 24)
    canvas.text(1340, 44, f"发票号码：{number}", 24, anchor="ra")
    canvas.text(1340, 82, f"开票日期：{day}", 24, anchor="ra")
    extra: dict[str, str] = {}
    if "普通" in title:
        extra["check_code"] = wording.digits(20)
        canvas.text(80, 82, f"校验码：{extra['check_code']}", 24)
    _frame(canvas)
    for y, party in ((144, "buyer"), (690, "seller")):
        canvas.text(80, y, f"名称：{fields[f'{party}_name']}", 26, ink=BLUE)
        canvas.text(80, y + 40, f"纳税人识别号：{fields[f'{party}_id']}", 26, ink=BLUE)
        canvas.text(
            80, y + 80, f"地址、电话：{wording.place()}市中山路{wording.rng.randint(1, 300)}号 {wording.digits(8)}", 24, ink=BLUE
        )
    return {"code": code, "number": number, **extra}


def _table(canvas: Canvas, items: list[_Item], top: int) -> None:
    for row, cells in enumerate([_HEADINGS, *(item.cells() for item in items)]):
        y = top if row == 0 else top + 8 + 62 * row
        for (x, anchor), cell in zip(_COLUMNS, cells, strict=True):
            canvas.text(x, y, cell, 26, anchor=anchor, ink=RED if row == 0 else (28, 28, 34))


def _totals(canvas: Canvas, amount: Decimal, tax: Decimal) -> None:
    total = amount + tax
    canvas.text(80, 572, "合计", 28, ink=RED)
    canvas.text(1000, 572, f"￥{amount:.2f}", 26, anchor="ra")
    canvas.text(1320, 572, f"￥{tax:.2f}", 26, anchor="ra")
    canvas.text(80, 632, "价税合计（大写）", 26, ink=RED)
    canvas.text(400, 632, write_amount(total), 28)
    canvas.text(1320, 632, f"（小写）￥{total:.2f}", 28, anchor="ra")
