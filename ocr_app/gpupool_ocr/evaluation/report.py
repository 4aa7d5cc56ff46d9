"""An evaluation as a table, as JSON, and as one HTML file that needs nothing else."""

from __future__ import annotations

import html
import math
from typing import Any

from gpupool_ocr.evaluation.comparison import Interval, latency_by_length
from gpupool_ocr.evaluation.job import Evaluation
from gpupool_ocr.evaluation.scores import PageScore

#: So many pages that differ are shown; the JSON has all.
SHOWN = 50


def as_table(evaluation: Evaluation) -> str:
    """Return the figures for a terminal, and the pages that differ."""
    rows = [f"{len(evaluation.examples)} pages", f"{'':20}" + "".join(f"{name:>26}" for name in _headings(evaluation))]
    rows += [f"{row[0]:20}" + "".join(f"{cell:>26}" for cell in row[1:]) for row in _rows(evaluation)]
    for name, pages in zip(evaluation.names, evaluation.pages, strict=True):
        for length, (count, median, worst) in latency_by_length(pages).items():
            rows.append(f"{name}: {length} characters: {median:.0f} ms median, {worst:.0f} ms worst ({count} pages)")
    differing = evaluation.differing()
    if len(evaluation.names) == 2:
        rows.append(f"{len(differing)} pages are read differently{': ' if differing else ''}" + ", ".join(_names(differing)))
    return "\n".join(rows) + "\n"


def _names(differing: list[Any]) -> list[str]:
    names = [triple[1].name for triple in differing[:10]]
    return [*names, "..."] if len(differing) > len(names) else names


def _headings(evaluation: Evaluation) -> list[str]:
    return [*evaluation.names, *(["difference"] if len(evaluation.names) == 2 else [])]


def _rows(evaluation: Evaluation) -> list[list[str]]:
    """Return a row a figure that there is something to say about: its name, each version, the difference."""
    rows = []
    for comparison in evaluation.comparisons:
        if all(math.isnan(version.value) for version in comparison.versions):
            continue
        row = [comparison.figure, *(_cell(version) for version in comparison.versions)]
        if comparison.difference:
            row.append(_cell(comparison.difference, "+") + ("*" if comparison.is_apart else " "))
        rows.append(row)
    return rows


def _cell(interval: Interval, sign: str = "") -> str:
    return f"{interval.value:{sign}.4f} ({interval.low:{sign}.3f} {interval.high:{sign}.3f})"


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return everything as plain values for JSON; NaN is null."""
    figures = {
        comparison.figure: {
            "versions": [_plain(version) for version in comparison.versions],
            "difference": _plain(comparison.difference) if comparison.difference else None,
            "apart": comparison.is_apart,
        }
        for comparison in evaluation.comparisons
    }
    latency = {
        name: {
            length: {"pages": count, "median_ms": median, "worst_ms": worst} for length, (count, median, worst) in found.items()
        }
        for name, found in (
            (name, latency_by_length(pages)) for name, pages in zip(evaluation.names, evaluation.pages, strict=True)
        )
    }
    differing = [{"page": first.name, "versions": [_page(first), _page(second)]} for _, first, second in evaluation.differing()]
    return {
        "pages": len(evaluation.examples),
        "versions": list(evaluation.names),
        "figures": figures,
        "latency": latency,
        "differing": differing,
    }


def _plain(interval: Interval) -> dict[str, float] | None:
    if math.isnan(interval.value):
        return None
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def _page(page: PageScore) -> dict[str, Any]:
    return {
        "exact_lines": int(page.counts.exact_lines),
        "right_fields": int(page.counts.right_fields),
        "texts": list(page.texts),
        "fields": dict(page.fields),
    }


def as_html(evaluation: Evaluation) -> str:
    """Return a page with the figures, latency, and the lines of the pages that differ beside each other. No script, no links."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ["", *_headings(evaluation)])
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in _rows(evaluation))
    parts = [f"<table><tr>{head}</tr>{body}</table>", "<p>95 % intervals by bootstrap over pages; * leaves out 0.</p>"]
    parts.append(_latency_table(evaluation))
    if len(evaluation.names) == 2:
        differing = evaluation.differing()
        parts.append(f"<h2>{len(differing)} pages are read differently</h2>")
        parts += [_side_by_side(evaluation.names, first, second) for _, first, second in differing[:SHOWN]]
    title = html.escape(" against ".join(evaluation.names))
    return _FRAME.format(title=title, pages=len(evaluation.examples), body="\n".join(parts))


def _latency_table(evaluation: Evaluation) -> str:
    rows = [
        f"<tr><td>{html.escape(name)}</td><td>{length}</td><td>{count}</td><td>{median:.0f}</td><td>{worst:.0f}</td></tr>"
        for name, pages in zip(evaluation.names, evaluation.pages, strict=True)
        for length, (count, median, worst) in latency_by_length(pages).items()
    ]
    head = "<tr><th>version</th><th>characters</th><th>pages</th><th>median ms</th><th>worst ms</th></tr>"
    return f"<h2>Latency by length</h2><table>{head}{''.join(rows)}</table>" if rows else ""


def _side_by_side(names: tuple[str, ...], first: PageScore, second: PageScore) -> str:
    """Return the lines that only one of two versions read on a page."""
    columns = []
    for name, page, other in zip(names, (first, second), (second, first), strict=True):
        only = [text for text in page.texts if text not in other.texts]
        lines = "".join(f"<li>{html.escape(text)}</li>" for text in only)
        columns.append(f"<td><b>{html.escape(name)}</b>, {page.counts.exact_lines:.0f} exact<ul>{lines}</ul></td>")
    return f"<h3>{html.escape(first.name)}</h3><table><tr>{''.join(columns)}</tr></table>"


_FRAME = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c1c22;background:#fff}}
table{{border-collapse:collapse}}td,th{{padding:.3rem .8rem;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}}
@media(prefers-color-scheme:dark){{body{{color:#e8e8ec;background:#18181c}}td,th{{border-color:#444}}}}</style>
<h1>{title}</h1><p>{pages} pages</p>
{body}
</html>
"""
