"""What a journey leaves: train ticket, taxi receipt, hotel bill."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from gpupool_ocr.fields.chinese import write_amount
from gpupool_ocr.synthesis.fonts import Font
from gpupool_ocr.synthesis.page import INK, RED, Canvas
from gpupool_ocr.synthesis.wording import PLATE_LETTERS, Wording


def train_ticket(wording: Wording, fonts: tuple[Font, Font]) -> tuple[Canvas, dict[str, str]]:
    """火车票, the blue paper one."""
    rng, day, clock = wording.rng, wording.day(), wording.clock()
    origin, target = rng.sample([f"{wording.place()}{end}" for end in ("", "南", "东", "北", "西")], 2)
    car, seat = rng.randint(1, 16), f"{rng.randint(1, 20):02}{rng.choice('ABCDF')}"
    person, price = wording.person(), Decimal(rng.randint(40, 4000)) / 2
    identity = f"{wording.digits(10)}****{wording.digits(4)}"
    fields = {
        "ticket_number": rng.choice(PLATE_LETTERS) + wording.digits(6),
        "origin": origin,
        "destination": target,
        "train": rng.choice("GDCKTZ") + wording.digits(rng.randint(2, 4)),
        "date": day.isoformat(),
        "time": clock,
        "seat": f"{car:02}车{seat}号",
        "class": rng.choice(("二等座", "一等座", "商务座", "硬座")),
        "price": f"{price:.2f}",
        "passenger": person,
    }
    canvas = Canvas(1000, 620, fonts, (228, 240, 247))
    canvas.text(50, 36, fields["ticket_number"], 34, ink=RED)
    canvas.text(950, 40, f"检票口 {rng.randint(1, 30)}{rng.choice('AB')}", 30, anchor="ra")
    canvas.text(180, 100, f"{origin}站", 52, anchor="ma", bold=True)
    canvas.text(820, 100, f"{target}站", 52, anchor="ma", bold=True)
    canvas.text(500, 96, fields["train"], 46, anchor="ma")
    canvas.rule(162, 410, 590, INK, 3)
    canvas.text(50, 236, f"{day.year}年{day.month:02}月{day.day:02}日 {clock}开", 34)
    canvas.text(950, 236, fields["seat"], 34, anchor="ra")
    canvas.text(50, 300, f"￥{price:.1f}元", 38)
    canvas.text(950, 304, fields["class"], 34, anchor="ra")
    canvas.text(50, 370, "限乘当日当次车", 30)
    canvas.text(50, 424, f"{identity} {person}", 32)
    canvas.rule(490, 50, 760)
    canvas.text(50, 508, "报销凭证 遗失不补", 28)
    canvas.text(50, 556, f"{wording.digits(14)}{fields['ticket_number']} {origin}售", 26)
    return canvas, fields


def taxi_receipt(wording: Wording, fonts: tuple[Font, Font]) -> tuple[Canvas, dict[str, str]]:
    """出租车发票, a narrow strip."""
    rng, day = wording.rng, wording.day()
    start = rng.randint(6 * 60, 21 * 60)
    end, km, price = start + rng.randint(5, 90), Decimal(rng.randint(20, 400)) / 10, Decimal(rng.choice(("2.00", "2.30", "2.50")))
    amount = (km * price + 10).quantize(Decimal("1")).quantize(Decimal("0.01"))
    fields = {
        "code": wording.digits(12),
        "number": wording.digits(8),
        "plate": wording.plate(),
        "date": day.isoformat(),
        "start": f"{start // 60:02}:{start % 60:02}",
        "end": f"{end // 60:02}:{end % 60:02}",
        "unit_price": f"{price:.2f}",
        "distance_km": f"{km:.2f}",
        "amount": f"{amount:.2f}",
    }
    canvas = Canvas(560, 940, fonts)
    canvas.text(280, 40, f"{wording.place()}市出租汽车专用发票", 34, anchor="ma", bold=True)
    canvas.text(280, 96, "发票联", 30, anchor="ma", ink=RED)
    written = f"{day.year}-{day.month:02}-{day.day:02}"
    rows = [
        ("发票代码", fields["code"]),
        ("发票号码", fields["number"]),
        ("电话", f"0{wording.digits(10)}"),
        ("车号", fields["plate"]),
        ("证号", wording.digits(6)),
        ("日期", written),
        ("上车", fields["start"]),
        ("下车", fields["end"]),
        ("单价", f"{price:.2f}元"),
        ("里程", f"{km:.1f}km"),
        ("等候", f"00:{rng.randint(0, 20):02}:00"),
        ("金额", f"{amount:.2f}元"),
    ]
    glued = rng.random() < 0.5
    for row, (label, value) in enumerate(rows):
        y = 160 + 60 * row
        if glued:
            canvas.text(50, y, f"{label}：{value}", 30)
        else:
            canvas.text(50, y, label, 30)
            canvas.text(500, y, value, 30, anchor="ra")
    canvas.text(280, 890, "手写无效", 24, anchor="ma")
    return canvas, fields


def hotel_bill(wording: Wording, fonts: tuple[Font, Font]) -> tuple[Canvas, dict[str, str]]:
    """宾客账单, in Chinese and English."""
    rng, arrival, nights = wording.rng, wording.day(), wording.rng.randint(1, 5)
    rate = Decimal(rng.randint(200, 900))
    charges = [(arrival + timedelta(days=night), "房费 Room Charge", rate) for night in range(nights)]
    if rng.random() < 0.6:
        charges.insert(1, (arrival, rng.choice(("餐费 Restaurant", "洗衣 Laundry", "停车 Parking")), wording.money(15, 200)))
    total = sum((charge for _, _, charge in charges), Decimal(0))
    fields = {
        "hotel": f"{wording.place()}{rng.choice(('酒店', '大酒店', '宾馆'))}",
        "guest": wording.person(),
        "room": str(rng.randint(2, 28) * 100 + rng.randint(1, 30)),
        "arrival": arrival.isoformat(),
        "departure": (arrival + timedelta(days=nights)).isoformat(),
        "folio": f"{rng.choice('ABCDEFGH')}{rng.choice('JKLMNP')}-{wording.digits(6)}",
        "total": f"{total:.2f}",
        "total_capitals": f"{total:.2f}",
    }
    canvas = Canvas(1000, 1160, fonts)
    canvas.text(500, 50, fields["hotel"], 48, anchor="ma", bold=True)
    canvas.text(500, 130, "宾客账单 GUEST FOLIO", 28, anchor="ma")
    canvas.rule(200, 60, 940)
    pairs = [
        (f"姓名 Guest：{fields['guest']}", f"房号 Room：{fields['room']}"),
        (f"入住 Arrival：{fields['arrival']}", f"离店 Departure：{fields['departure']}"),
        (f"账号 Folio No：{fields['folio']}", f"房型 Type：{rng.choice(('高级双床房', '豪华大床房', '标准间'))}"),
    ]
    for row, (one, two) in enumerate(pairs):
        canvas.text(60, 226 + 52 * row, one, 26)
        canvas.text(540, 226 + 52 * row, two, 26)
    canvas.rule(396, 60, 940)
    for row, cells in enumerate(
        [("日期 Date", "摘要 Description", "金额 Amount"), *((d.isoformat(), w, f"{c:.2f}") for d, w, c in charges)]
    ):
        y = 416 + 54 * row
        for (x, anchor), cell in zip(((60, "la"), (330, "la"), (940, "ra")), cells, strict=True):
            canvas.text(x, y, cell, 26, anchor=anchor, bold=row == 0)
    canvas.rule(834, 60, 940)
    canvas.text(60, 856, "合计 Total CNY", 32, bold=True)
    canvas.text(940, 856, f"{total:.2f}", 32, anchor="ra", bold=True)
    canvas.text(60, 920, f"人民币大写：{write_amount(total)}", 28)
    canvas.text(60, 978, "付款方式 Payment：银行卡 Bank Card", 26)
    canvas.text(60, 1056, f"地址：{wording.place()}市松涛路 {rng.randint(1, 300)} 号", 24)
    return canvas, fields
