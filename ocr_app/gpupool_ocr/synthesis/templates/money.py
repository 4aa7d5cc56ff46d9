"""Bank slip and shop receipt."""

from __future__ import annotations

from decimal import Decimal

from gpupool_ocr.fields.chinese import write_amount
from gpupool_ocr.synthesis.fonts import Font
from gpupool_ocr.synthesis.page import BLUE, Canvas
from gpupool_ocr.synthesis.wording import Wording

_GOODS = [
    "Whole Wheat Bread",
    "Free Range Eggs",
    "Oolong Tea 100g",
    "Olive Oil 500ml",
    "Ripe Mangoes",
    "Dish Soap Lemon",
    "Paint Brush 2in",
    "Light Bulb LED",
    "Copper Wire 5m",
    "Rice 10kg",
    "Orange Juice 1L",
    "Paper Towels",
]


def bank_slip(wording: Wording, fonts: tuple[Font, Font]) -> tuple[Canvas, dict[str, str]]:
    """银行电子回单: who paid whom how much."""
    rng, day, amount = wording.rng, wording.day(), wording.money(100, 2_000_000)
    fields = {
        "slip_number": wording.digits(16),
        "date": day.isoformat(),
        "payer_name": wording.firm(),
        "payer_account": wording.card(),
        "payee_name": wording.firm(),
        "payee_account": wording.card(),
        "amount": f"{amount:.2f}",
        "amount_capitals": f"{amount:.2f}",
        "purpose": rng.choice(("货款", "服务费", "租金", "工程款", "设备采购款")),
    }
    canvas = Canvas(1300, 760, fonts)
    canvas.text(650, 36, f"{wording.place()}银行电子回单", 44, anchor="ma", bold=True)
    canvas.text(70, 112, f"回单编号：{fields['slip_number']}", 26)
    canvas.text(1230, 112, f"交易日期：{day.isoformat() if rng.random() < 0.5 else f'{day:%Y年%m月%d日}'}", 26, anchor="ra")
    for y in (160, 350, 420, 490, 560):
        canvas.rule(y, 60, 1240, BLUE)
    canvas.bar(650, 160, 350, BLUE)
    for x, who, party in ((80, "付款人", "payer"), (670, "收款人", "payee")):
        canvas.text(x, 176, f"{who}户名：{fields[f'{party}_name']}", 26)
        canvas.text(x, 234, f"{who}账号：{fields[f'{party}_account']}", 26)
        canvas.text(x, 292, f"{who}开户行：{wording.place()}银行{wording.place()}支行", 26)
    canvas.text(80, 368, f"金额（大写）：{write_amount(amount)}", 26)
    canvas.text(80, 438, f"金额（小写）：￥{amount:,.2f}", 26)
    canvas.text(80, 508, f"用途：{fields['purpose']}", 26)
    canvas.text(670, 508, "币种：人民币", 26)
    canvas.text(80, 590, f"交易流水号：{wording.digits(20)}", 24)
    canvas.text(80, 650, "本回单可在自助设备重复打印，请勿重复记账", 24)
    return canvas, fields


def shop_receipt(wording: Wording, fonts: tuple[Font, Font]) -> tuple[Canvas, dict[str, str]]:
    """A shop receipt in English."""
    rng, day, address = wording.rng, wording.day(), wording.address()
    goods = [(name, rng.randint(1, 6), wording.money(1, 60)) for name in rng.sample(_GOODS, rng.randint(2, 6))]
    total = sum((count * price for _, count, price in goods), Decimal(0))
    fields = {
        "company": wording.shop(),
        "date": day.isoformat(),
        "address": " ".join(address),
        "receipt_number": f"{rng.choice('ABCDEFGH')}{rng.choice('JKLMNP')}-{wording.digits(6)}",
        "total": f"{total:.2f}",
    }
    canvas = Canvas(620, 520 + 52 * len(goods), fonts)
    canvas.text(310, 40, fields["company"], 34, anchor="ma", bold=True)
    for row, line in enumerate([*address, f"Tel 0{wording.digits(9)}"]):
        canvas.text(310, 92 + 34 * row, line, 24, anchor="ma")
    written = rng.choice((f"{day:%d/%m/%Y}", f"{day:%d-%m-%Y}", f"{day:%d %b %Y}", f"{day:%Y-%m-%d}"))
    canvas.text(40, 216, f"Date: {written}", 24)
    canvas.text(580, 216, f"Time: {wording.clock()}", 24, anchor="ra")
    canvas.text(40, 252, f"Receipt No: {fields['receipt_number']}", 24)
    canvas.rule(292, 40, 580)
    for row, (name, count, price) in enumerate(goods):
        y = 306 + 52 * row
        canvas.text(40, y, name, 26)
        canvas.text(400, y, str(count), 26, anchor="ra")
        canvas.text(580, y, f"{count * price:.2f}", 26, anchor="ra")
    foot = 320 + 52 * len(goods)
    canvas.text(40, foot, "TOTAL", 34, bold=True)
    canvas.text(580, foot, f"{total:.2f}", 34, anchor="ra", bold=True)
    tendered = total + Decimal(rng.randint(0, 2000)) / 100
    for row, (label, value) in enumerate((("CASH", tendered), ("CHANGE", tendered - total))):
        canvas.text(40, foot + 54 + 38 * row, label, 24)
        canvas.text(580, foot + 54 + 38 * row, f"{value:.2f}", 24, anchor="ra")
    canvas.text(310, foot + 146, "Thank you for shopping with us", 22, anchor="ma")
    return canvas, fields
