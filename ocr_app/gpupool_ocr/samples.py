"""Sample pages of our own: drawn here, people and firms invented, so that the demo needs nothing else.

`python -m gpupool_ocr.samples FOLDER` draws them again (needs Debian's fonts-noto-cjk, SIL Open Font License).
The drawn pages and their texts lie in `sample_pages/` of this package.
"""

from __future__ import annotations

import json
import math
import random
import sys
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

FONTS = Path("/usr/share/fonts/opentype/noto")
INK = (28, 28, 34)
RED = (178, 34, 44)
BLUE = (30, 62, 140)
RULE = (120, 120, 128)
NAMES = ("receipt", "train_ticket", "vat_invoice", "hotel_bill")


def paths() -> list[Path]:
    """Return the packaged sample pages."""
    folder = Path(str(files("gpupool_ocr") / "sample_pages"))
    return [folder / f"{name}.png" for name in NAMES]


def texts_of(page: Path) -> list[str]:
    """Return the lines that were drawn on a sample page."""
    lines: list[str] = json.loads(page.with_suffix(".json").read_text("utf-8"))["lines"]
    return lines


@dataclass
class Sheet:
    """A page being drawn, and the texts drawn so far."""

    width: int
    height: int
    paper: tuple[int, int, int] = (253, 252, 248)
    lines: list[str] = field(default_factory=list)
    image: Image = field(init=False)
    draw: ImageDraw = field(init=False)

    def __post_init__(self) -> None:
        from PIL import Image, ImageDraw

        self.image = Image.new("RGB", (self.width, self.height), self.paper)
        self.draw = ImageDraw.Draw(self.image)

    def text(
        self,
        x: int,
        y: int,
        text: str,
        size: int = 24,
        *,
        anchor: str = "la",
        ink: tuple[int, int, int] = INK,
        bold: bool = False,
    ) -> None:
        """Draw one line; `anchor` as Pillow has it (la: left and top, ma: middle, ra: right)."""
        self.draw.text((x, y), text, ink, _font(size, bold), anchor=anchor)
        self.lines.append(text)

    def rule(self, y: int, left: int, right: int, ink: tuple[int, int, int] = RULE, width: int = 2) -> None:
        """Draw a horizontal line."""
        self.draw.line((left, y, right, y), ink, width)

    def bar(self, x: int, left_y: int, right_y: int, ink: tuple[int, int, int] = RULE) -> None:
        """Draw a vertical line."""
        self.draw.line((x, left_y, x, right_y), ink, 2)

    def speckle(self, seed: int, dots: int) -> None:
        """Scatter the dust of a scanner."""
        dust = random.Random(seed)  # noqa: S311 - dust needs no cryptography
        for _ in range(dots):
            x, y, grey = dust.randrange(self.width), dust.randrange(self.height), dust.randrange(150, 225)
            self.draw.point((x, y), (grey, grey, grey))

    def barcode(self, x: int, y: int, width: int, height: int, seed: int) -> None:
        """Draw bars that mean nothing."""
        bars = random.Random(seed)  # noqa: S311 - nor do bars
        end = x + width
        while x < end:
            thick = min(bars.choice((2, 2, 3, 5)), end - x)
            self.draw.rectangle((x, y, x + thick - 1, y + height), INK)
            x += thick + bars.choice((2, 3, 4))

    def matrix(self, x: int, y: int, cell: int, seed: int) -> None:
        """Draw a square code of 25 x 25 cells that means nothing, with its three corner marks."""
        dots = random.Random(seed)  # noqa: S311 - nor do dots
        for row in range(25):
            for column in range(25):
                if dots.random() < 0.5:
                    left, top = x + column * cell, y + row * cell
                    self.draw.rectangle((left, top, left + cell - 1, top + cell - 1), INK)
        for left, top in ((x, y), (x + 18 * cell, y), (x, y + 18 * cell)):
            for inset, ink in ((0, INK), (1, self.paper), (2, INK)):
                low, high = inset * cell, (7 - inset) * cell - 1
                self.draw.rectangle((left + low, top + low, left + high, top + high), ink)

    def seal(self, x: int, y: int, text: str) -> None:
        """Stamp an oval seal with a star and one line around the point (x, y)."""
        for inset, width in ((0, 5), (12, 1)):
            self.draw.ellipse((x - 130 + inset, y - 85 + inset, x + 130 - inset, y + 85 - inset), outline=RED, width=width)
        points = [(x + 26 * r * math.sin(a), y - 30 - 26 * r * math.cos(a)) for a, r in _STAR]
        self.draw.polygon(points, RED)
        self.text(x, y + 10, text, 28, anchor="ma", ink=RED, bold=True)

    def waves(self, ink: tuple[int, int, int]) -> None:
        """Print the fine waves that tickets have against copying."""
        for base in range(-30, self.height + 30, 14):
            curve = [(x, base + 10 * math.sin(x / 38 + base / 50)) for x in range(0, self.width + 8, 8)]
            self.draw.line(curve, ink, 1)

    def lay_down(self, degrees: float, desk: tuple[int, int, int]) -> None:
        """Lay the page on a desk, a little askew, as photographs have it."""
        from PIL import Image

        wide = Image.new("RGB", (self.width + 80, self.height + 80), desk)
        wide.paste(self.image, (40, 40))
        self.image = wide.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=desk)

    def save(self, folder: Path, name: str) -> None:
        """Write the page, in as few colours as it needs, and its texts."""
        from PIL import Image

        self.image.quantize(256, dither=Image.Dither.NONE).save(folder / f"{name}.png", optimize=True)
        document = {"lines": self.lines}
        (folder / f"{name}.json").write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", "utf-8")


#: A star of five points: angle and radius of its corners.
_STAR = [(math.pi * corner / 5, 1.0 if corner % 2 == 0 else 0.4) for corner in range(10)]


def _font(size: int, bold: bool) -> FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(str(FONTS / f"NotoSansCJK-{'Bold' if bold else 'Regular'}.ttc"), size, index=2)


def receipt() -> Sheet:
    """A shop receipt in English."""
    sheet = Sheet(620, 1120)
    sheet.text(310, 50, "LANTERN HILL GROCERY", 38, anchor="ma", bold=True)
    sheet.text(310, 104, "14 Quayside Lane, Port Ellery", 24, anchor="ma")
    sheet.text(310, 138, "Tel 0555 014 2277", 24, anchor="ma")
    sheet.rule(186, 40, 580)
    sheet.text(40, 204, "Date: 14/10/2026", 24)
    sheet.text(580, 204, "Time: 17:42", 24, anchor="ra")
    sheet.text(40, 240, "Receipt No: LH-208417", 24)
    sheet.rule(286, 40, 580)
    items = [
        ("Whole Wheat Bread", "2", "7.80"),
        ("Free Range Eggs 12", "1", "5.40"),
        ("Oolong Tea 100g", "1", "12.90"),
        ("Olive Oil 500ml", "1", "9.75"),
        ("Ripe Mangoes", "3", "8.70"),
        ("Dish Soap Lemon", "2", "6.30"),
    ]
    for row, (item, count, amount) in enumerate(items):
        y = 306 + 52 * row
        sheet.text(40, y, item, 26)
        sheet.text(430, y, count, 26, anchor="ra")
        sheet.text(580, y, amount, 26, anchor="ra")
    sheet.rule(630, 40, 580)
    totals = [("Subtotal", "50.85"), ("Tax 6%", "3.05")]
    for row, (label, amount) in enumerate(totals):
        sheet.text(40, 650 + 46 * row, label, 26)
        sheet.text(580, 650 + 46 * row, amount, 26, anchor="ra")
    sheet.text(40, 752, "TOTAL", 36, bold=True)
    sheet.text(580, 752, "53.90", 36, anchor="ra", bold=True)
    sheet.text(40, 816, "Paid by card ending 4471", 24)
    sheet.rule(866, 40, 580)
    sheet.text(310, 886, "Thank you for shopping with us", 24, anchor="ma")
    sheet.text(310, 924, "Goods may be returned within 14 days", 22, anchor="ma")
    sheet.barcode(150, 984, 320, 70, 1)
    sheet.text(310, 1062, "208417 0061 3390", 22, anchor="ma")
    sheet.speckle(1, 900)
    sheet.lay_down(0.9, (118, 104, 92))
    return sheet


def train_ticket() -> Sheet:
    """A train ticket in Chinese."""
    sheet = Sheet(1000, 620, (226, 238, 246))
    sheet.waves((206, 224, 238))
    sheet.text(50, 36, "K072915", 34, ink=RED)
    sheet.text(950, 40, "检票口 12B", 30, anchor="ra")
    sheet.text(180, 100, "青岚站", 52, anchor="ma", bold=True)
    sheet.text(820, 100, "云泽南站", 52, anchor="ma", bold=True)
    sheet.text(500, 96, "G2187", 46, anchor="ma")
    sheet.rule(162, 410, 590, INK, 3)
    sheet.text(180, 172, "Qinglan", 28, anchor="ma")
    sheet.text(820, 172, "Yunzenan", 28, anchor="ma")
    sheet.text(50, 236, "2026年10月14日 09:26开", 34)
    sheet.text(950, 236, "05车11A号", 34, anchor="ra")
    sheet.text(50, 300, "￥328.5元", 38)
    sheet.text(950, 304, "二等座", 34, anchor="ra")
    sheet.text(50, 370, "限乘当日当次车", 30)
    sheet.text(50, 424, "3702021990****2716 林知远", 32)
    sheet.rule(490, 50, 760)
    sheet.text(50, 508, "报销凭证 遗失不补", 28)
    sheet.text(50, 556, "62817300541126K072915 青岚售", 26)
    sheet.matrix(790, 370, 6, 2)
    sheet.speckle(2, 800)
    sheet.lay_down(-1.2, (88, 92, 98))
    return sheet


def vat_invoice() -> Sheet:
    """A VAT invoice in Chinese; its sums are right."""
    sheet = Sheet(1400, 920)
    sheet.text(560, 34, "电子发票（增值税专用发票）", 44, anchor="ma", ink=RED, bold=True)
    sheet.text(1340, 44, "发票号码：26372000000084125937", 24, anchor="ra")
    sheet.text(1340, 82, "开票日期：2026年10月14日", 24, anchor="ra")
    left, right = 60, 1340
    for y in (130, 270, 320, 560, 620, 680, 780):
        sheet.rule(y, left, right, RED)
    for x in (left, right):
        sheet.bar(x, 130, 780, RED)
    sheet.bar(700, 130, 270, RED)
    sheet.text(80, 150, "购买方名称：青岚市远帆图书有限公司", 26, ink=BLUE)
    sheet.text(80, 204, "纳税人识别号：91370200MA3XKQ7T25", 26, ink=BLUE)
    sheet.text(720, 150, "销售方名称：云泽星桥信息技术有限公司", 26, ink=BLUE)
    sheet.text(720, 204, "纳税人识别号：91530100MA6PLW4H8C", 26, ink=BLUE)
    columns = [(80, "la"), (500, "ra"), (640, "ra"), (820, "ra"), (1000, "ra"), (1140, "ra"), (1320, "ra")]
    rows = [
        ("项目名称", "单位", "数量", "单价", "金额", "税率", "税额"),
        ("*信息技术服务*文档识别", "次", "2400", "1.25", "3000.00", "6%", "180.00"),
        ("*信息技术服务*系统维护", "月", "3", "860.00", "2580.00", "6%", "154.80"),
        ("*电子设备*扫描仪", "台", "2", "1150.00", "2300.00", "13%", "299.00"),
    ]
    for row, cells in enumerate(rows):
        y = 276 if row == 0 else 284 + 62 * row
        for (x, anchor), cell in zip(columns, cells, strict=True):
            sheet.text(x, y, cell, 26, anchor=anchor, ink=RED if row == 0 else INK)
    sheet.text(80, 572, "合计", 28, ink=RED)
    sheet.text(1000, 572, "￥7880.00", 26, anchor="ra")
    sheet.text(1320, 572, "￥633.80", 26, anchor="ra")
    sheet.text(80, 632, "价税合计（大写）", 26, ink=RED)
    sheet.text(400, 632, "捌仟伍佰壹拾叁元捌角整", 28)
    sheet.text(1320, 632, "（小写）￥8513.80", 28, anchor="ra")
    sheet.text(80, 700, "备注：合同编号 YZ-2026-0417，三季度服务费", 26, ink=BLUE)
    sheet.text(80, 810, "开票人：苏晚晴", 26)
    sheet.seal(1130, 790, "发票专用章")
    sheet.speckle(3, 1200)
    return sheet


def hotel_bill() -> Sheet:
    """A hotel bill in Chinese and English."""
    sheet = Sheet(1000, 1160)
    sheet.text(500, 50, "松涛阁酒店", 48, anchor="ma", bold=True)
    sheet.text(500, 118, "SONGTAO PAVILION HOTEL", 30, anchor="ma")
    sheet.text(500, 166, "宾客账单 GUEST FOLIO", 28, anchor="ma")
    sheet.rule(218, 60, 940)
    pairs = [
        ("姓名 Guest：周以宁", "房号 Room：1806"),
        ("入住 Arrival：2026-10-11", "离店 Departure：2026-10-14"),
        ("账号 Folio No：STG-558213", "房型 Type：高级双床房"),
    ]
    for row, (one, two) in enumerate(pairs):
        sheet.text(60, 238 + 52 * row, one, 26)
        sheet.text(540, 238 + 52 * row, two, 26)
    sheet.rule(404, 60, 940)
    rows = [
        ("日期 Date", "摘要 Description", "金额 Amount"),
        ("2026-10-11", "房费 Room Charge", "568.00"),
        ("2026-10-11", "餐费 Restaurant", "132.00"),
        ("2026-10-12", "房费 Room Charge", "568.00"),
        ("2026-10-12", "洗衣 Laundry", "45.00"),
        ("2026-10-13", "房费 Room Charge", "568.00"),
        ("2026-10-13", "停车 Parking", "20.00"),
    ]
    for row, (day, what, amount) in enumerate(rows):
        y = 424 + 56 * row
        sheet.text(60, y, day, 26, bold=row == 0)
        sheet.text(330, y, what, 26, bold=row == 0)
        sheet.text(940, y, amount, 26, anchor="ra", bold=row == 0)
    sheet.rule(824, 60, 940)
    sheet.text(60, 846, "合计 Total CNY", 32, bold=True)
    sheet.text(940, 846, "1901.00", 32, anchor="ra", bold=True)
    sheet.text(60, 910, "人民币大写：壹仟玖佰零壹元整", 28)
    sheet.text(60, 968, "付款方式 Payment：银行卡 Bank Card", 26)
    sheet.rule(1026, 60, 940)
    sheet.text(60, 1046, "地址：云泽市松涛路 88 号", 24)
    sheet.text(60, 1088, "Thank you and welcome back", 24)
    sheet.matrix(790, 1042, 4, 4)
    sheet.speckle(4, 1100)
    sheet.lay_down(-0.5, (204, 200, 192))
    return sheet


def draw_all(folder: Path) -> None:
    """Draw every sample page into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in zip(NAMES, (receipt, train_ticket, vat_invoice, hotel_bill), strict=True):
        make().save(folder, name)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m gpupool_ocr.samples FOLDER")
    draw_all(Path(sys.argv[1]))
