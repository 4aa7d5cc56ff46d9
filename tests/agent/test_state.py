"""What an agent keeps on disk."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from gpupool_agent.state import AgentState, write_atomically
from gpupool_wire.errors import UsageError


def test_the_credential_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    with AgentState(tmp_path / "agent") as state:
        assert state.credential == ""
        state.keep_credential("first")
        state.keep_credential("second")
        assert state.credential == "second"
    kept = tmp_path / "agent" / "credential"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


def test_one_agent_at_a_time(tmp_path: Path) -> None:
    with AgentState(tmp_path / "agent"), pytest.raises(UsageError, match="--home"):
        AgentState(tmp_path / "agent")
    with AgentState(tmp_path / "agent"):
        pass


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="--home"):
        AgentState(tmp_path / "file" / "agent")


def test_the_ready_file_appears_whole(tmp_path: Path) -> None:
    AgentState.write_ready_file(tmp_path / "ready", {"node": "n"})
    assert json.loads((tmp_path / "ready").read_text()) == {"node": "n"}
    AgentState.write_ready_file(None, {})
    assert [path.name for path in tmp_path.iterdir()] == ["ready"]


def test_a_left_over_draft_is_no_obstacle(tmp_path: Path) -> None:
    import os

    (tmp_path / f".x.{os.getpid()}").write_text("half")
    write_atomically(tmp_path / "x", "whole")
    assert (tmp_path / "x").read_text() == "whole"
