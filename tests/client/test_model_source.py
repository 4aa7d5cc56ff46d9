from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpupool import model_source
from gpupool.model_source import ModelFile, ModelInMemory, keep_model
from gpupool_wire.errors import Conflict, LimitExceeded, UsageError


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_source, "UPLOAD_PART_BYTES", 10)
    monkeypatch.setattr(model_source, "_READ_BYTES", 10)


@pytest.fixture(scope="session")
def some_file(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tmp_path_factory.mktemp("models") / "model.onnx"


@given(st.binary(max_size=64), st.integers(0, 70))
def test_parts_are_the_rest_of_the_model_in_order(some_file: Path, content: Any, offset: int) -> None:
    some_file.write_bytes(content)
    for kept in (ModelInMemory(content), ModelFile(some_file)):
        parts = list(kept.parts(offset))
        assert b"".join(bytes(part) for _, part in parts) == content[offset:]
        assert all(bytes(part) == content[start : start + len(part)] for start, part in parts)
        assert all(0 < len(part) <= 10 for _, part in parts)
        assert kept.sha256 == hashlib.sha256(content).hexdigest()
        assert kept.nbytes == len(content)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_kept_as_they_were_given(kind: Any) -> None:
    given_ = bytearray(b"weights")
    kept = keep_model(kind(given_))
    given_[0] = 0
    assert b"".join(part for _, part in kept.parts(0)) == b"weights"


def test_a_changed_file_is_noticed_before_its_upload_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"x" * 25)
    kept = ModelFile(path)
    path.write_bytes(b"y" * 25)
    sent: list[Any] = []
    with pytest.raises(Conflict, match=r"model\.onnx has changed since its session was opened: its SHA-256 is"):
        sent.extend(part for _, part in kept.parts(0))
    assert sum(len(part) for part in sent) < 25


def test_a_removed_file_is_said_to_be_gone(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"x")
    kept = ModelFile(path)
    path.unlink()
    with pytest.raises(Conflict, match="cannot be read any more"):
        list(kept.parts(0))


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not int"):
        keep_model(3)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        keep_model(tmp_path / "nothing.onnx")


def test_a_model_over_the_limit_is_refused_before_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_source, "MAX_MODEL_BYTES", 5)
    with pytest.raises(LimitExceeded, match="has 6 bytes; the limit is 5"):
        keep_model(b"123456")
