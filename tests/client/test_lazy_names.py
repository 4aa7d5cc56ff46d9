"""Which outputs are to stay on the device: by name, by pattern, by hash."""

from __future__ import annotations

import pytest

from gpupool.lazy_names import VARIABLE, check_wish, lazy_outputs
from gpupool_wire.errors import UsageError

SHA256 = "ab12cd34" + "0" * 56
OUTPUTS = ["probs", "scores"]


def wished(*wishes: str) -> frozenset[str]:
    return lazy_outputs([], OUTPUTS, "/models/rec_v4.onnx", SHA256, {VARIABLE: ";".join(wishes)})


@pytest.mark.parametrize("model", ["rec_v4.onnx", "*", "rec_*", "/models/*.onnx", "ab12cd34", SHA256])
def test_a_model_is_named_by_file_path_pattern_or_hash(model: str) -> None:
    assert wished(f"{model}:probs") == {"probs"}
    assert wished(f"{model}:*") == {"probs", "scores"}


@pytest.mark.parametrize("model", ["det_v4.onnx", "ab12", "ab12cd35", "rec", "models"])
def test_other_models_are_left_alone(model: str) -> None:
    assert wished(f"{model}:probs") == frozenset()


def test_wishes_add_up_and_one_without_a_match_changes_nothing() -> None:
    assert wished("*:nothing", "*:scores", "rec_v4.onnx:probs") == {"probs", "scores"}
    assert lazy_outputs(["scores"], OUTPUTS, None, SHA256, {VARIABLE: "*:probs"}) == {"probs", "scores"}
    assert lazy_outputs([], OUTPUTS, None, SHA256, {}) == frozenset()


def test_an_output_the_model_lacks_is_refused_with_those_it_has() -> None:
    with pytest.raises(UsageError, match="no output 'text'; it has 'probs', 'scores'"):
        lazy_outputs(["text"], OUTPUTS, None, SHA256, {})


@pytest.mark.parametrize("wish", ["", "probs", ":probs", "model:", "a:b;c:d"])
def test_what_is_no_wish_is_refused(wish: str) -> None:
    with pytest.raises(UsageError, match="MODEL:OUTPUT"):
        check_wish(wish)
