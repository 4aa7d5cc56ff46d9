"""Plug-ins in processes of their own: what they may do wrong, and that the service lives on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpupool_ocr.plans.spec import PluginSpec
from gpupool_ocr.plugins.frames import Question
from gpupool_ocr.plugins.process import PluginCrashed, PluginError, PluginGroup, PluginNonsense, PluginTimeout

MODULE = """
import os, sys, time

def good(page, **options):
    print("a plug-in may print")
    return {"lines": len(page["lines"]), "size": [page["height"], page["width"]], "options": options}

def pixels(page):
    return {"sum": int(page["image"].sum()), "shape": list(page["image"].shape)}

def crash(page):
    if page["lines"]:
        os._exit(3)
    return {}

def hang(page):
    if page["lines"]:
        time.sleep(600)
    return {}

def raises(page):
    raise KeyError("total")

def nonsense(page):
    return "not a dict"

def odd(page):
    return {"x": object()}

def huge(page):
    return {"x": "y" * (5 << 20)}

def talks(page):
    os.write(int(sys.argv[1]), b"\\\\xff\\\\xff\\\\xff\\\\xff junk")
    time.sleep(600)

def hungry(page):
    return {"x": len(bytearray(1 << 30))}
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plugs.py").write_text(MODULE.replace("\\\\xff", "\\xff"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)


@pytest.fixture
def groups() -> Iterator[list[PluginGroup]]:
    made: list[PluginGroup] = []
    yield made
    for group in made:
        group.stop()


def group_of(groups: list[PluginGroup], call: str, **spec: Any) -> PluginGroup:
    groups.append(PluginGroup("plug", PluginSpec(call=call, **spec), 1))
    return groups[-1]


def page(lines: int = 1, image: bytes | None = None) -> Question:
    return Question(lines=[{"text": "x"}] * lines, height=2, width=3, image=image, colours=1)


@pytest.mark.usefixtures("module")
class TestPlugins:
    def test_it_gets_the_lines_and_its_options(self, groups: list[PluginGroup]) -> None:
        answer = group_of(groups, "plugs:good", options={"a": 1}).call(page(2))
        assert answer.fields == {"lines": 2, "size": [2, 3], "options": {"a": 1}}

    def test_it_gets_the_image_where_it_wants_it(self, groups: list[PluginGroup]) -> None:
        assert group_of(groups, "plugs:pixels").call(page(image=b"\x01" * 6)).fields == {"sum": 6, "shape": [2, 3, 1]}

    def test_a_crash_is_told_and_the_next_call_has_a_new_process(self, groups: list[PluginGroup]) -> None:
        group = group_of(groups, "plugs:crash")
        assert group.call(page(0)).fields == {}
        (before,) = group.pids
        with pytest.raises(PluginCrashed, match="status 3"):
            group.call(page())
        assert group.call(page(0)).fields == {}
        assert group.pids != [before]
        assert group.restarts == 1

    def test_a_call_that_hangs_is_stopped(self, groups: list[PluginGroup]) -> None:
        group = group_of(groups, "plugs:hang", timeout_s=0.2)
        group.warm()
        (pid,) = group.pids
        start = time.monotonic()
        with pytest.raises(PluginTimeout, match=r"within 0\.2 s"):
            group.call(page())
        assert time.monotonic() - start < 5
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert group.call(page(0)).fields == {}

    def test_its_own_exception_is_told(self, groups: list[PluginGroup]) -> None:
        with pytest.raises(PluginError, match="KeyError: 'total'"):
            group_of(groups, "plugs:raises").call(page())

    @pytest.mark.parametrize("name", ["nonsense", "huge", "talks"])
    def test_nonsense_is_called_so(self, groups: list[PluginGroup], name: str) -> None:
        with pytest.raises(PluginNonsense, match="what is no answer"):
            group_of(groups, f"plugs:{name}").call(page())

    def test_what_cannot_travel_is_called_so(self, groups: list[PluginGroup]) -> None:
        with pytest.raises(PluginError, match="cannot travel"):
            group_of(groups, "plugs:odd").call(page())

    def test_memory_beyond_its_limit_is_refused(self, groups: list[PluginGroup]) -> None:
        with pytest.raises(PluginError, match="MemoryError"):
            group_of(groups, "plugs:hungry", memory_mib=64).call(page())

    @pytest.mark.parametrize(
        ("call", "why"), [("plugs:none", "AttributeError"), ("nowhere:f", "No module"), ("unknown", "no installed")]
    )
    def test_one_that_cannot_be_loaded_says_why(self, groups: list[PluginGroup], call: str, why: str) -> None:
        with pytest.raises(PluginError, match=why):
            group_of(groups, call).warm()

    def test_it_ends_when_it_is_stopped(self, groups: list[PluginGroup]) -> None:
        group = group_of(groups, "plugs:good")
        group.warm()
        (pid,) = group.pids
        group.stop()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
