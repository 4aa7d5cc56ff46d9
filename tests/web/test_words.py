"""Everything the pages say is there in both languages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import gpupool_web
from gpupool_web.words import CATALOGUE, CHINESE, ENGLISH, Words, language_of
from gpupool_web.words.refusals import trouble
from gpupool_wire.errors import GpupoolError, NotFound, PoolUnreachable, RemoteFault, UsageError

#: Functions whose first argument is a text of the catalogue, and NiceGUI's that put a text before people.
SAYING = {"say", "noted"}
SHOWING = {"label", "notify", "input", "number", "checkbox", "tooltip", "textarea", "switch"}
SOURCES = sorted(Path(gpupool_web.__file__).parent.rglob("*.py"))


def calls(names: set[str]) -> Iterator[tuple[str, ast.Call]]:
    """Yield (place, call) of every call of one of the names in the web UI."""
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in names:
                    yield f"{source.name}:{node.lineno}", node


def said() -> dict[str, str]:
    """Return every text that is said, and where."""
    found = {}
    for place, call in calls(SAYING):
        first = call.args[0] if call.args else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            found[first.value] = place
        else:
            assert not isinstance(first, ast.JoinedStr), f"{place}: values go in by keyword"
    return found


def test_every_text_has_a_chinese_one() -> None:
    assert {text: place for text, place in said().items() if text not in CATALOGUE} == {}


def test_no_chinese_is_left_over() -> None:
    assert set(CATALOGUE) - set(said()) == set()


def test_both_take_the_same_values() -> None:
    fields = {text: (set(re.findall(r"{(\w+)", text)), set(re.findall(r"{(\w+)", CATALOGUE[text]))) for text in CATALOGUE}
    assert {text: both for text, both in fields.items() if both[0] != both[1]} == {}


def test_chinese_texts_are_chinese() -> None:
    kept = {"{part} of {whole}", "{how}: {reason}"}
    assert [text for text, chinese in CATALOGUE.items() if not re.search(r"[\u4e00-\u9fff]", chinese) and text not in kept] == []


def test_nothing_is_shown_that_was_not_said() -> None:
    bare = []
    for place, call in calls(SHOWING):
        first = call.args[0] if call.args else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str) and re.search(r"[A-Za-z]{2}", first.value):
            bare.append(f"{place}: {first.value}")
    assert bare == []


@pytest.mark.parametrize(
    ("accepts", "language"),
    [
        ("", ENGLISH),
        ("de-DE,de;q=0.9", ENGLISH),
        ("zh-CN,zh;q=0.9,en;q=0.8", CHINESE),
        ("en;q=0.5, zh-TW", CHINESE),
        ("en-GB,zh;q=0.4", ENGLISH),
        ("zh;q=nonsense, en", ENGLISH),
    ],
)
def test_a_browser_gets_the_language_it_asks_for(accepts: str, language: str) -> None:
    assert language_of(accepts) == language


def test_values_go_in_and_unknown_languages_are_english() -> None:
    assert Words("zh-CN")("Sign out") == "退出登录"
    assert Words("tlh")("Sign out") == "Sign out"
    assert "node-1" in Words("zh-CN")("{trouble}. Trying again every second; what is shown may be old.", trouble="node-1")


@pytest.mark.parametrize(
    ("error", "chinese"),
    [
        (NotFound("there is no node 'x'"), "没有找到：there is no node 'x'"),
        (PoolUnreachable("nobody answers"), "调度服务没有响应：nobody answers"),
        (UsageError("compute is 0"), "输入有误：compute is 0"),
        (RemoteFault("the disk is full"), "执行失败：the disk is full"),
    ],
)
def test_a_refusal_says_its_kind_in_the_viewers_language_and_what_the_broker_said(error: GpupoolError, chinese: str) -> None:
    assert trouble(Words(CHINESE), error) == chinese
    assert trouble(Words(ENGLISH), error) == str(error)
