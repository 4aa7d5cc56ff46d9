"""Documents that can be drawn, by the name of the type that the rules in fields/types/ know them by."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gpupool_ocr.synthesis.fonts import Font
from gpupool_ocr.synthesis.page import Canvas
from gpupool_ocr.synthesis.templates.invoices import vat_invoice_ordinary, vat_invoice_special
from gpupool_ocr.synthesis.templates.money import bank_slip, shop_receipt
from gpupool_ocr.synthesis.templates.travel import hotel_bill, taxi_receipt, train_ticket
from gpupool_ocr.synthesis.wording import Wording

#: Draws a document in two faces (regular, bold), and returns its fields in their normal form.
Template = Callable[[Wording, tuple[Font, Font]], tuple[Canvas, dict[str, str]]]

TEMPLATES: Mapping[str, Template] = {
    "vat_invoice_special": vat_invoice_special,
    "vat_invoice_ordinary": vat_invoice_ordinary,
    "train_ticket": train_ticket,
    "taxi_receipt": taxi_receipt,
    "hotel_bill": hotel_bill,
    "bank_slip": bank_slip,
    "shop_receipt": shop_receipt,
}
#: What a face must have to draw any of them.
SAMPLE = "发票专用章壹贰叁肆伍陆柒捌玖拾佰仟万元角分整￥票"
