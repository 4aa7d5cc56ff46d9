"""The page where one drops an image, in a real browser."""

from __future__ import annotations

from pathlib import Path

from tests.ocr.service.browsing import BROWSED, axe_findings, browsing

pytestmark = BROWSED


def test_a_dropped_page_shows_its_lines_and_a_bad_file_its_error(address: str, page: bytes, tmp_path: Path) -> None:
    (tmp_path / "page.png").write_bytes(page)
    (tmp_path / "bad.png").write_bytes(b"hello")
    with browsing(address) as tab:
        tab.goto(address)
        tab.get_by_role("status").get_by_text("ready").wait_for()
        tab.set_input_files("#file", tmp_path / "page.png")
        line = tab.locator("#lines li").first
        line.wait_for()
        assert line.locator("div").inner_text() == "BANK427965"
        assert tab.evaluate("[canvas.width, canvas.height]") == [420, 400]
        assert "1 lines, 10 characters" in tab.locator("#summary").inner_text()
        assert "release 1" in tab.locator("#summary").inner_text()
        line.hover()
        assert "lit" in (line.get_attribute("class") or "")
        assert axe_findings(tab) == []
        tab.get_by_role("button", name="Another page").click()
        tab.set_input_files("#file", tmp_path / "bad.png")
        tab.get_by_role("alert").wait_for()
        assert "bad.png is not an image" in tab.get_by_role("alert").inner_text()
