"""Tables of a page: real table elements, orders chosen by buttons in their heads, long lists a part at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gpupool_web.markup import Html, joined, tag
from gpupool_web.words import Words

#: Rows of a long list that are shown at a time.
PAGE_ROWS: Final = 50


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `sort` is what REST calls an order by it, empty where there is none."""

    title: str
    sort: str = ""
    is_number: bool = False


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], caption: str, *, sort: str = "", empty: str = "") -> Html:
    """Return a table; cells that are no Html are text. `caption` is for those who do not see it; `empty` stands for no rows."""
    if not rows and empty:
        return tag("p", empty, class_="gp-quiet")
    head = tag("tr", *(_head(column, sort) for column in columns))
    kinds = ["gp-r" if column.is_number else None for column in columns]
    body = [tag("tr", *(tag("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True))) for row in rows]
    whole = tag("table", tag("thead", head), tag("tbody", *body), class_="gp-table")
    return tag("div", whole, class_="gp-scroll", tabindex="0", role="region", aria_label=caption)


def _head(column: Column, sort: str) -> Html:
    kind = "gp-r" if column.is_number else None
    if not column.sort:
        return tag("th", column.title, scope="col", class_=kind)
    is_here, is_down = column.sort == sort.removeprefix("-"), sort.startswith("-")
    # Numbers are looked at from the largest, names from the first.
    following = (column.sort if is_down else f"-{column.sort}") if is_here else ("-" if column.is_number else "") + column.sort
    arrow = ("↓" if is_down else "↑") if is_here else ""
    order = ("descending" if is_down else "ascending") if is_here else None
    button = tag("button", column.title, " " + arrow, type="button", class_="gp-sort", data_do="sort", data_with=following)
    return tag("th", button, scope="col", class_=kind, aria_sort=order)


def pager(say: Words, offset: int, shown: int, total: int, rows: int = PAGE_ROWS) -> Html:
    """Return which part of a list this is, and buttons to the parts beside it."""
    if total <= rows and not offset:
        return tag("div", say("{total} in all", total=f"{total:,}"), class_="gp-pager")
    text = say("{first} to {last} of {total}", first=f"{offset + 1:,}", last=f"{offset + shown:,}", total=f"{total:,}")
    back = button("page", str(max(0, offset - rows)), say("Previous"), is_off=offset == 0)
    on = button("page", str(offset + rows), say("Next"), is_off=offset + shown >= total)
    return tag("div", tag("span", text, role="status"), back, on, class_="gp-pager")


def button(do: str, with_: str, title: str, *, is_off: bool = False, is_danger: bool = False, label: str | None = None) -> Html:
    """Return a button that tells the page `do` and `with_`; `label` says more than `title` to those who do not see it."""
    kind = "gp-act gp-danger" if is_danger else "gp-act"
    return tag("button", title, type="button", class_=kind, data_do=do, data_with=with_, disabled=is_off, aria_label=label)


def facts(rows: Sequence[tuple[str, str]]) -> Html:
    """Return terms and what they are here."""
    return tag("dl", *(joined([tag("div", tag("dt", term), tag("dd", what))]) for term, what in rows), class_="gp-facts")
