"""Texts for pages: names of places, people and firms that nobody has, numbers with right check digits, amounts that add up."""

from __future__ import annotations

import random
from datetime import date, timedelta
from decimal import Decimal

from gpupool_ocr.fields.checksums import CREDIT_CODE_ALPHABET, credit_code_digit, luhn_digit

_PLACES = [
    "青岚",
    "云泽",
    "松涛",
    "远山",
    "清河",
    "临江",
    "白石",
    "望海",
    "长亭",
    "兰溪",
    "南屏",
    "北渡",
    "东湖",
    "西林",
    "银杏",
    "石桥",
]
_TRADES = ["信息技术", "图书", "电子", "机械设备", "食品贸易", "建筑材料", "物流", "文化传播", "医疗器械", "环保科技"]
_MAKERS = ["星桥", "远帆", "华润泽", "天合", "瑞丰", "金穗", "明达", "启元", "同创", "嘉禾", "永信", "博雅"]
_SURNAMES = "林周苏陈赵何徐沈顾宋"
_GIVEN = "知远以宁晚晴明轩若溪子墨思源文博雨桐"
_WORDS = [
    "river",
    "market",
    "copper",
    "window",
    "garden",
    "paper",
    "harbour",
    "lantern",
    "silver",
    "morning",
    "station",
    "bridge",
    "winter",
    "orange",
    "letter",
    "forest",
    "engine",
    "kitchen",
    "summer",
    "pocket",
    "mirror",
    "candle",
    "bottle",
    "ticket",
    "travel",
    "yellow",
    "circle",
    "button",
    "ladder",
    "basket",
]
_FIRST = ["LANTERN", "RIVER", "COPPER", "GOLDEN", "HARBOUR", "MAPLE", "SILVER", "NORTHERN", "ORCHID", "PALM"]
_SECOND = ["HILL", "GATE", "LEAF", "STAR", "VALLEY", "POINT", "FIELD", "WAVE", "PEAK", "CROWN"]
_FORMS = ("SDN BHD", "TRADING", "ENTERPRISE", "GROCERY", "HARDWARE", "RESTAURANT", "SUPERMARKET", "LTD")
_STREETS = ("Quayside Lane", "Station Road", "Mill Street", "Garden Avenue", "Harbour Road", "Temple Street")
_TOWNS = ("Port Ellery", "Ashford Bay", "Kingsmere", "New Harrow", "Stonebridge", "Lakeview")
#: Without I and O, which no plate has.
PLATE_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_PROVINCES = "京沪津渝冀晋辽吉黑苏浙皖闽赣鲁豫鄂湘粤琼川贵云陕甘青桂蒙宁新藏"


class Wording:
    """Draws texts from one generator: the same seed gives the same texts in the same order."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def digits(self, count: int) -> str:
        """So many digits, the first not 0."""
        return str(self.rng.randint(1, 9)) + "".join(str(self.rng.randint(0, 9)) for _ in range(count - 1))

    def money(self, low: int, high: int) -> Decimal:
        """An amount between two whole ones, with cents."""
        return Decimal(self.rng.randint(100 * low, 100 * high)) / 100

    def day(self) -> date:
        """A day of 2019 to 2026."""
        return date(2019, 1, 1) + timedelta(days=self.rng.randrange(365 * 8))

    def clock(self) -> str:
        """A time of day, HH:MM."""
        return f"{self.rng.randint(6, 22):02}:{self.rng.randint(0, 59):02}"

    def place(self) -> str:
        """A town."""
        return self.rng.choice(_PLACES)

    def person(self) -> str:
        """A person's name in Chinese."""
        return self.rng.choice(_SURNAMES) + "".join(self.rng.sample(_GIVEN, 2))

    def firm(self) -> str:
        """A firm's name in Chinese."""
        return f"{self.place()}市{self.rng.choice(_MAKERS)}{self.rng.choice(_TRADES)}有限公司"

    def credit_code(self) -> str:
        """A unified social credit code with its check character."""
        body = "91" + self.digits(6) + "".join(self.rng.choice(CREDIT_CODE_ALPHABET) for _ in range(9))
        return body + credit_code_digit(body)

    def card(self) -> str:
        """A bank card number of 19 digits with its check digit."""
        body = "6222" + self.digits(14)
        return body + luhn_digit(body)

    def plate(self) -> str:
        """A number plate: province, letter, five digits and letters."""
        serial = [self.rng.choice("0123456789") for _ in range(5)]
        for place in self.rng.sample(range(5), self.rng.randint(0, 2)):
            serial[place] = self.rng.choice(PLATE_LETTERS)
        return self.rng.choice(_PROVINCES) + self.rng.choice(PLATE_LETTERS) + "".join(serial)

    def serial(self) -> str:
        """A serial number of 8 to 12 capitals and digits, which no dictionary helps to read."""
        return "".join(self.rng.choice("0123456789" + PLATE_LETTERS + "IO") for _ in range(self.rng.randint(8, 12)))

    def batch_code(self) -> str:
        """What an ink-jet printer puts on a package: a date, a lot."""
        day = self.day()
        lot = self.rng.choice(PLATE_LETTERS) + self.digits(self.rng.randint(4, 6))
        return self.rng.choice((f"EXP {day:%Y/%m/%d}", f"{day:%Y%m%d} {lot}", f"LOT {lot}", f"{day:%d.%m.%Y} {self.clock()}"))

    def reading(self) -> str:
        """What a meter shows: digits, with a point or a sign now and then."""
        digits = self.digits(self.rng.randint(3, 8))
        place = self.rng.randint(1, len(digits) - 1)
        return self.rng.choice((digits, f"{digits[:place]}.{digits[place:]}", f"-{digits}"))

    def words(self, most: int = 4) -> str:
        """Some English words."""
        words = [self.rng.choice(_WORDS) for _ in range(self.rng.randint(1, most))]
        style = self.rng.randrange(3)
        return " ".join(word.upper() if style == 0 else word.capitalize() if style == 1 else word for word in words)

    def han(self) -> str:
        """Some words in Chinese."""
        return self.rng.choice(
            [self.firm(), f"{self.place()}{self.rng.choice(_TRADES)}中心", self.person() + "收", f"{self.place()}站"]
        )

    def shop(self) -> str:
        """A shop's name in English."""
        return f"{self.rng.choice(_FIRST)} {self.rng.choice(_SECOND)} {self.rng.choice(_FORMS)}"

    def address(self) -> list[str]:
        """An address in English, in two lines."""
        return [f"NO. {self.rng.randint(2, 240)}, {self.rng.choice(_STREETS)},", f"{self.digits(5)} {self.rng.choice(_TOWNS)}"]
