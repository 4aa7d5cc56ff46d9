"""ONNX's own node tests through a worker: whatever onnxruntime answers locally, values and errors, comes back the same.

The reference is onnxruntime in this process, not the expected outputs: what it cannot do locally, it must fail at in the same
words remotely. Types that NumPy has no dtype for travel as ml_dtypes' where onnx loads them so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from gpupool_agent.standalone import StandaloneWorker
from gpupool_wire import messages as m
from gpupool_wire.errors import ExecutionFailed, ModelRejected

pytestmark = [pytest.mark.system, pytest.mark.filterwarnings("ignore")]
CASES = [case for case in load_model_tests(kind="node") if case.model_dir]
#: The default run takes every 12th case, spread by hash so that no family of operators is left out.
SAMPLE = 12


def is_sampled(name: str) -> bool:
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % SAMPLE == 0


def load(path: Path, kind: Any) -> Any:
    """Return one input of a test case as onnxruntime takes it."""
    data = path.read_bytes()
    which = kind.WhichOneof("value")
    if which == "sequence_type":
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if which == "optional_type":
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def inputs_of(model: onnx.ModelProto, folder: Path) -> Iterator[dict[str, Any]]:
    for data_set in sorted(folder.glob("test_data_set_*")):
        files = sorted(data_set.glob("input_*.pb"), key=lambda path: int(path.stem.split("_")[1]))
        yield {value.name: load(path, value.type) for value, path in zip(model.graph.input, files, strict=False)}


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, list):
        return isinstance(ours, list) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(theirs, dict) or theirs is None:
        return type(ours) is type(theirs) and bool(ours == theirs)
    a, b = np.asarray(ours), np.asarray(theirs)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return a.tolist() == b.tolist() if b.dtype == object else a.tobytes() == b.tobytes()


def outcome(work: Callable[[], Any]) -> tuple[Any, tuple[str, str] | None]:
    try:
        return work(), None
    except (ModelRejected, ExecutionFailed) as error:
        return None, (str(error.details.get("ort_class")), error.message)
    except Exception as error:
        return None, (type(error).__name__, str(error))


#: Drawn anew at every run, locally as well.
RANDOM = ("bernoulli", "randomnormal", "randomuniform", "multinomial")


def check(case: Any, client: Any) -> None:
    folder = Path(case.model_dir)
    model_bytes = (folder / "model.onnx").read_bytes()
    model = onnx.load_model_from_string(model_bytes)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    local, refused = outcome(lambda: ort.InferenceSession(model_bytes, options, providers=["CPUExecutionProvider"]))
    opened, refused_remotely = outcome(lambda: client.open(model_bytes))
    assert refused_remotely == refused
    if refused is not None:
        return
    try:
        for feed in inputs_of(model, folder):
            expected, failed = outcome(partial(local.run, None, feed))
            values, failed_remotely = outcome(partial(client.run, opened.session_id, feed))
            assert failed_remotely == failed
            if failed is None:
                is_random = any(word in case.name for word in RANDOM)
                assert len(values) == len(expected)
                assert is_random or all(map(same, values, expected)), case.name
    finally:
        client.expect(m.SessionClosed, m.CloseSession(call_id=1, session_id=opened.session_id))


@pytest.mark.parametrize("case", [case for case in CASES if is_sampled(case.name)], ids=lambda case: case.name)
def test_a_sample_of_node_cases_answers_as_onnxruntime_does(case: Any, client: Any) -> None:
    check(case, client)


@pytest.mark.full
@pytest.mark.parametrize("case", [case for case in CASES if not is_sampled(case.name)], ids=lambda case: case.name)
def test_all_other_node_cases_answer_as_onnxruntime_does(case: Any, client: Any) -> None:
    check(case, client)


def test_the_sample_is_of_all_families(shared_worker: StandaloneWorker) -> None:
    assert shared_worker.is_running
    assert len(CASES) > 1500
    assert sum(is_sampled(case.name) for case in CASES) > 100
