"""Markup: what a stranger wrote stays text."""

from __future__ import annotations

from gpupool_web.markup import Html, joined, moment, tag


def test_text_and_attributes_are_escaped() -> None:
    assert tag("b", "<script>") == "<b>&lt;script&gt;</b>"
    assert tag("i", title='"><script>') == '<i title="&quot;&gt;&lt;script&gt;"></i>'


def test_markup_made_here_is_kept_and_nothing_is_left_out_silently() -> None:
    assert tag("p", tag("b", "a"), " & ", None) == "<p><b>a</b> &amp; </p>"
    assert joined(["<", Html("<br/>")]) == "&lt;<br/>"


def test_attributes_are_named_as_in_html() -> None:
    made = tag("button", class_="x", aria_label="y", data_do="z", disabled=True, hidden=False, title=None)
    assert made == '<button class="x" aria-label="y" data-do="z" disabled></button>'
    assert tag("path", d="M0 0") == '<path d="M0 0"/>'


def test_a_time_is_the_browsers_to_write() -> None:
    assert moment("2026-11-21T10:00:00Z", "clock").startswith('<time datetime="2026-11-21T10:00:00Z" data-as="clock">')
    assert moment(None) == "–"
