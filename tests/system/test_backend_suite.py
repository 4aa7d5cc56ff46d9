"""ONNX's own backend tests, through a session on a slice and through a local one: the same ids pass, the others fail alike.

The default run takes every TAKE-th id; `-m full` takes all of them.
"""

from __future__ import annotations

import time
import unittest
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import onnxruntime
import onnxruntime.backend.backend as local_backend
import pytest
from onnx.backend.base import Backend, BackendRep
from onnx.backend.test import BackendTest

import gpupool
import gpupool.onnxruntime as ort
from gpupool.protocols import SliceLike

pytestmark = pytest.mark.system

#: One id in so many in the default run. A prime, so that the kinds of tests, which come in alphabetical order, are all met.
TAKE = 13
#: What onnxruntime 1.31.1 passes of onnx 1.21.0's suite on a CPU. Written down so that a suite that shrinks is noticed.
PASSING = 1540

Outcome = tuple[str, str]
Outcomes = dict[str, Outcome]


def backend_of(session_class: Callable[..., Any]) -> type[Backend]:
    """Return onnxruntime's own backend, with another session class."""

    class OtherBackend(local_backend.OnnxRuntimeBackend):  # type: ignore[misc]
        @classmethod
        def prepare(cls, model: Any, device: str | None = None, **kwargs: Any) -> BackendRep:
            if not isinstance(model, bytes):
                return super().prepare(model, device, **kwargs)
            session = session_class(model, providers=["CPUExecutionProvider"])
            session.disable_fallback()
            return local_backend.OnnxRuntimeBackendRep(session)

    return OtherBackend


def cases_of(backend: type[Backend]) -> Iterator[tuple[str, unittest.TestCase]]:
    """Yield id and test of every case for the CPU. All models are in onnx's wheel, the large ones with weights left out."""
    for kind, group in sorted(BackendTest(backend, __name__).test_cases.items()):
        for name in sorted(unittest.defaultTestLoader.getTestCaseNames(group)):
            if name.endswith("_cpu"):
                yield f"{kind}.{name}", group(name)


class _Listening(unittest.TestResult):
    """Keeps how each test ended: its class of error and its text."""

    outcome: Outcome = ("passed", "")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802 - unittest's name
        self.outcome = ("skipped", reason)

    def addError(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        self.outcome = (f"{err[0].__module__}.{err[0].__qualname__}", str(err[1]))

    addFailure = addError  # noqa: N815 - unittest's name


def outcome_of(test: unittest.TestCase) -> Outcome:
    listening = _Listening()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the suite's own NumPy code divides by zero on purpose
        test.run(listening)
    return listening.outcome


def outcomes(session_class: Callable[..., Any], take: int) -> Outcomes:
    cases = list(cases_of(backend_of(session_class)))[::take]
    return {name: outcome_of(test) for name, test in cases}


def compare(remote_slice: SliceLike, take: int) -> tuple[Outcomes, str]:
    """Return the outcomes through the slice, which must be those of the local runtime, and a line with counts and times."""
    onnxruntime.set_default_logger_severity(4)
    started = time.perf_counter()
    local = outcomes(onnxruntime.InferenceSession, take)
    between = time.perf_counter()
    remote = outcomes(lambda *a, **k: ort.InferenceSession(*a, gpupool_slice=remote_slice, **k), take)
    ended = time.perf_counter()
    assert remote.keys() == local.keys()
    different = {name: (remote[name], local[name]) for name in local if remote[name] != local[name]}
    assert not different, f"{len(different)} of {len(local)} differ (remote, local): {dict(list(different.items())[:5])}"
    passed = sum(outcome[0] == "passed" for outcome in remote.values())
    return remote, (f"{passed} of {len(remote)} passed on both; local {between - started:.1f} s, remote {ended - between:.1f} s")


@pytest.fixture(scope="module")
def remote_slice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SliceLike]:
    """The whole CPU of a pool of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUPOOL_HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("GPUPOOL_URL", raising=False)
        with gpupool.embedded_pool() as pool, pool.slice(compute=100, memory="4GiB") as held:
            yield held


def test_every_thirteenth_id_ends_as_locally(remote_slice: SliceLike, record_property: Callable[[str, object], None]) -> None:
    ended, line = compare(remote_slice, TAKE)
    record_property("backend_suite", line)
    assert sum(outcome[0] == "passed" for outcome in ended.values()) > PASSING // TAKE * 0.9


@pytest.mark.full
@pytest.mark.timeout(600)
def test_every_id_ends_as_locally(remote_slice: SliceLike, record_property: Callable[[str, object], None]) -> None:
    ended, line = compare(remote_slice, 1)
    record_property("backend_suite", line)
    print(line)
    assert sum(outcome[0] == "passed" for outcome in ended.values()) == PASSING
