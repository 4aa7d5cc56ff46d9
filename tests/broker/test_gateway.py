"""The control port of a real broker: greetings, slices, and peers that do not behave."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from gpupool_wire import messages as m
from gpupool_wire.codec import decode_lease
from gpupool_wire.units import Hold

pytestmark = pytest.mark.system


def ask_for(call_id: int = 1, **changes: object) -> m.RequestSlice:
    fields = {"request_id": f"r{call_id}", "compute_pct": 25, "memory_mib": 512, "kind": "null", **changes}
    return m.RequestSlice(call_id=call_id, **fields)  # type: ignore[arg-type]


def test_a_slice_from_request_to_release(start_broker, agent, client) -> None:
    broker = start_broker()
    node, app = agent(broker), client(broker)
    granted = app.ask(ask_for(hold=Hold.ATTACHED))
    assert isinstance(granted, m.SliceGranted)
    assert decode_lease(granted.lease.payload).slice_id == granted.slice_id
    assert node.wait_for(m.Assign).slice.slice_id == granted.slice_id
    resized = app.ask(m.ResizeSlice(call_id=2, request_id="z", slice_id=granted.slice_id, compute_pct=50))
    assert (resized.compute_pct, resized.memory_mib, resized.epoch) == (50, 512, 2)
    assert app.ask(m.ReleaseSlice(call_id=3, request_id="x", slice_id=granted.slice_id)).slice_id == granted.slice_id
    assert node.wait_for(m.Revoke).epoch == 3
    located = app.ask(m.LocateSlice(call_id=4, slice_id=granted.slice_id))
    assert (located.error.code, "released" in located.error.message) == ("lease_lost", True)


def test_the_lease_is_signed_with_the_key_agents_are_given(start_broker, agent, client) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    broker = start_broker()
    node = agent(broker)
    lease = client(broker).ask(ask_for()).lease
    Ed25519PublicKey.from_public_bytes(node.welcome.lease_key).verify(lease.signature, lease.payload)


@pytest.mark.parametrize(
    ("token", "words"), [("gpp_admin_guess", "not known here"), ("", "not known here"), ("x" * 60_000, "not known here")]
)
def test_a_wrong_token_is_refused(empty_broker, peer: Callable[[str], object], token: str, words: str) -> None:
    failed = peer(empty_broker.url).ask(m.Hello(version=m.PROTOCOL_VERSION, token=token))  # type: ignore[attr-defined]
    assert (failed.error.code, words in failed.error.message) == ("not_authorized", True)


def test_another_protocol_version_is_refused_with_both_named(empty_broker, peer) -> None:
    failed = peer(empty_broker.url).ask(m.Hello(version=99, token="t"))
    assert f"version 99, this side {m.PROTOCOL_VERSION}" in failed.error.message


def test_who_has_not_greeted_is_told_to(empty_broker, peer) -> None:
    assert "greet first" in peer(empty_broker.url).ask(m.Ping(call_id=1)).error.message


def test_garbage_harms_nobody(start_broker, agent, client, peer) -> None:
    broker = start_broker()
    agent(broker)
    app, rogue = client(broker), peer(broker.url)
    for frames in ([b""], [b"\xff" * 1000], [b"\x91" * 50_000], [b"a", b"b", b"c"], [b"\x93\xa4ping\x01\xc0"]):
        rogue.socket.send_multipart(frames)
        assert isinstance(rogue.receive(), m.Failed)
    assert isinstance(app.ask(ask_for()), m.SliceGranted)


def test_an_oversized_frame_ends_that_connection_alone(start_broker, agent, client, peer) -> None:
    broker = start_broker()
    agent(broker)
    app, rogue = client(broker), peer(broker.url)
    rogue.socket.send(bytes(3_000_000))
    assert isinstance(app.ask(ask_for()), m.SliceGranted)
    assert not rogue.socket.poll(200)


def test_a_join_token_admits_one_node(start_broker, agent, peer) -> None:
    broker = start_broker()
    token = broker.rest("POST", "/api/v1/tokens", {"role": "join"})[1]["token"]
    agent(broker, credential=token)
    hello = m.AgentHello(version=m.PROTOCOL_VERSION, node="node-2", token=token, devices=[], door="tcp://127.0.0.1:1")
    assert "used already" in peer(broker.url).ask(hello).error.message


def test_a_credential_belongs_to_its_node(start_broker, agent, peer) -> None:
    broker = start_broker()
    credential = agent(broker).welcome.credential
    hello = m.AgentHello(version=m.PROTOCOL_VERSION, node="other", token=credential, devices=[], door="tcp://127.0.0.1:1")
    assert "belongs to node node-1" in peer(broker.url).ask(hello).error.message
    again = agent(broker, credential=credential)
    assert again.welcome.credential == ""


def test_a_tenant_cannot_touch_anothers_slice(start_broker, agent, client) -> None:
    broker = start_broker()
    agent(broker)
    tokens = [broker.rest("POST", "/api/v1/tokens", {"role": "tenant", "tenant": name})[1]["token"] for name in "ab"]
    ours, theirs = (client(broker, token) for token in tokens)
    granted = ours.ask(ask_for())
    assert theirs.ask(m.ReleaseSlice(call_id=2, request_id="q", slice_id=granted.slice_id)).error.code == "not_found"


def test_a_lost_agent_is_noticed_within_three_seconds(start_broker, agent) -> None:
    broker = start_broker()
    node = agent(broker)
    assert isinstance(node.ask(m.Beat(seq=1)), m.BeatAnswer)
    silent_since = time.monotonic()
    while broker.rest("GET", "/api/v1/nodes")[1][0]["state"] == "up":
        assert time.monotonic() - silent_since < 3.0
        time.sleep(0.02)
    assert time.monotonic() - silent_since > 2.0


def test_a_port_in_use_is_one_clear_sentence(start_broker, tmp_path) -> None:
    broker = start_broker()
    port = broker.url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "gpupool", "broker", "--bind", f"127.0.0.1:{port}", "--http", "127.0.0.1:0"]
    done = subprocess.run([*command, "--home", str(tmp_path / "b")], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr.splitlines()[-1]
