from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpupool.grant import Grant, Invitation, decode_invitation, encode_invitation
from gpupool.locator import BrokerLocator, FileLocator, InvitationFile
from gpupool_wire.errors import LeaseLost, UsageError
from gpupool_wire.messages import RequestSlice, SignedLease
from gpupool_wire.units import Policy

texts = st.text(max_size=40)
grants = st.builds(
    Grant,
    slice_id=texts,
    epoch=st.integers(0, 2**53),
    node=texts,
    device=texts,
    kind=texts,
    model=texts,
    compute_pct=st.integers(1, 100),
    memory_mib=st.integers(1, 2**20),
    policy=st.sampled_from(Policy),
    door=texts,
    lease=st.builds(SignedLease, payload=st.binary(max_size=100), signature=st.binary(min_size=64, max_size=64)),
)


@given(grants, texts, texts)
def test_an_invitation_survives_the_environment(grant: Grant, file: str, url: str) -> None:
    invitation = Invitation(grant=grant, file=file, url=url)
    text = encode_invitation(invitation)
    assert decode_invitation(text) == invitation
    assert text.isascii()
    assert "\0" not in text


@given(st.text(max_size=200))
def test_any_other_text_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(UsageError, match="start the program with `gpupool run`"):
        decode_invitation(text)


def test_a_file_is_private_whole_and_gone_when_removed(fakes: Any, tmp_path: Path) -> None:
    file = InvitationFile(tmp_path / "links", "slice-1", "tcp://b:1")
    grant = fakes.grant()
    text = file.write(grant)
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.path.parent.stat().st_mode & 0o777 == 0o700
    assert decode_invitation(text) == Invitation(grant=grant, file=str(file.path), url="tcp://b:1")
    assert FileLocator(file.path).locate("slice-1") == grant
    assert [path.name for path in file.path.parent.iterdir()] == [f"slice-1-{os.getpid()}"]
    file.remove()
    file.remove()
    with pytest.raises(LeaseLost, match="slice-1 has ended"):
        FileLocator(file.path).locate("slice-1")


def test_what_a_killed_holder_left_is_removed_by_the_next(fakes: Any, tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    (tmp_path / f"slice-1-{gone.stdout.strip()}").touch()
    (tmp_path / f"slice-2-{os.getppid()}").touch()
    InvitationFile(tmp_path, "slice-3", "").write(fakes.grant())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"slice-2-{os.getppid()}", f"slice-3-{os.getpid()}"])


def test_the_broker_knows_where_a_slice_is(fakes: Any) -> None:
    control = fakes.control()
    granted = control.request_slices(RequestSlice(call_id=0, request_id="r", compute_pct=25, memory_mib=64))[0]
    fakes.broker.epoch = 7
    assert BrokerLocator(control).locate(granted.slice_id).epoch == 7
    fakes.broker.ended.add(granted.slice_id)
    with pytest.raises(LeaseLost):
        BrokerLocator(control).locate(granted.slice_id)
    control.close()
