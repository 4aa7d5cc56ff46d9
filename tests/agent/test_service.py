"""The agent as a whole, between a fake broker, fake workers and real sockets."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from gpupool_wire.errors import Conflict, NotAuthorized, UsageError
from gpupool_wire.messages import Failed, LinkOpened, SignedLease
from gpupool_wire.units import Hold

Eventually = Callable[..., Any]


class TestJoining:
    def test_it_joins_with_the_token_and_then_shows_its_credential(
        self, start_agent: Callable[..., Any], broker: Any, eventually: Eventually
    ) -> None:
        agent = start_agent()
        eventually(lambda: broker.beats)
        agent.stop()
        broker.tokens.clear()
        start_agent(join_token="")
        eventually(lambda: len(broker.hellos) == 2)
        assert [hello.token for hello in broker.hellos] == ["join", "credential"]
        assert stat.S_IMODE((agent.settings.state_dir / "credential").stat().st_mode) == 0o600

    def test_it_says_what_it_offers_and_where_its_door_is(self, agent: Any, broker: Any) -> None:
        (hello,) = broker.hellos
        assert hello.node == "node"
        assert [(device.device, device.kind) for device in hello.devices] == [("null0", "null")]
        assert hello.door == agent.service.door.address.zmq

    def test_it_is_ready_once_the_broker_knows_it(
        self, start_agent: Callable[..., Any], tmp_path: Path, eventually: Eventually
    ) -> None:
        ready = tmp_path / "ready.json"
        agent = start_agent(ready_file=ready, advertise="localhost")
        eventually(ready.exists)
        door = f"tcp://localhost:{agent.service.door.address.port}"
        assert json.loads(ready.read_text()) == {"node": "node", "door": door}

    def test_a_refused_token_ends_it_with_the_brokers_words(
        self, start_agent: Callable[..., Any], eventually: Eventually
    ) -> None:
        agent = start_agent(join_token="wrong")
        eventually(lambda: agent.has_ended)
        assert isinstance(agent.error, NotAuthorized)
        assert "not known" in str(agent.error)

    def test_a_refused_credential_gives_way_to_the_join_token(
        self, start_agent: Callable[..., Any], broker: Any, eventually: Eventually
    ) -> None:
        agent = start_agent()
        eventually(lambda: broker.beats)
        agent.stop()
        broker.credential = "of another database"
        start_agent()
        eventually(lambda: len(broker.hellos) == 3)
        assert [hello.token for hello in broker.hellos] == ["join", "credential", "join"]

    def test_a_conflict_is_waited_out(self, start_agent: Callable[..., Any], broker: Any, eventually: Eventually) -> None:
        broker.refusal = Conflict("the node is connected").to_info()
        agent = start_agent()
        eventually(lambda: broker.hellos)
        broker.refusal = None
        eventually(lambda: broker.beats)
        assert not agent.has_ended

    def test_two_agents_do_not_share_a_state_directory(self, agent: Any, start_agent: Callable[..., Any]) -> None:
        with pytest.raises(UsageError, match="another agent"):
            start_agent()

    def test_it_says_goodbye(self, agent: Any, broker: Any, eventually: Eventually) -> None:
        agent.stop()
        (bye,) = eventually(lambda: broker.byes)
        assert bye.reason == "the agent is stopped"


class TestTheBrokerComesAndGoes:
    def test_a_restarted_broker_is_greeted_again(self, agent: Any, broker: Any, eventually: Eventually) -> None:
        broker.assign("s")
        eventually(lambda: "s" in [row.slice_id for row in agent.service.snapshot.slices])
        broker.stop()
        broker.start()
        eventually(lambda: len(broker.hellos) >= 2)
        assert [held.slice_id for held in broker.hellos[-1].held] == ["s"]

    def test_a_silent_broker_is_greeted_again(self, agent: Any, broker: Any, eventually: Eventually) -> None:
        broker.is_mute = True
        eventually(lambda: not agent.service.is_connected)
        broker.is_mute = False
        eventually(lambda: len(broker.hellos) >= 2)
        eventually(lambda: agent.service.is_connected)
        assert {hello.node for hello in broker.hellos} == {"node"}

    def test_the_broker_that_takes_over_is_greeted(
        self, start_agent: Callable[..., Any], broker: Any, standby: Any, eventually: Eventually
    ) -> None:
        agent = start_agent(broker=f"127.0.0.1:{broker.port},127.0.0.1:{standby.port}")
        eventually(lambda: broker.beats, "it beats")
        standby.tokens |= {"credential"}
        broker.stop()
        eventually(lambda: standby.beats, "it beats there")
        assert standby.hellos[0].token == "credential"
        assert not agent.has_ended
        broker.start()
        told = len(broker.hellos)
        beats = len(standby.beats)
        eventually(lambda: len(standby.beats) > beats + 2, "it stays there")
        assert len(broker.hellos) == told

    def test_a_broker_that_is_not_there_is_passed_over(
        self, start_agent: Callable[..., Any], broker: Any, eventually: Eventually
    ) -> None:
        agent = start_agent(broker=f"127.0.0.1:9,127.0.0.1:{broker.port}")
        eventually(lambda: broker.beats, "it beats")
        assert agent.service.is_connected
        assert len(broker.hellos) == 1

    def test_while_it_is_away_slices_are_served(self, agent: Any, broker: Any, eventually: Eventually) -> None:
        broker.assign("s")
        assert isinstance(agent.open(broker.lease("s")), LinkOpened)
        broker.is_mute = True
        eventually(lambda: not agent.service.is_connected)
        assert isinstance(agent.open(broker.lease("s"), holder=False), LinkOpened)
        assert len(agent.pids("s")) == 1

    def test_while_it_is_away_no_new_slice_is_admitted(self, agent: Any, broker: Any, eventually: Eventually) -> None:
        broker.is_mute = True
        eventually(lambda: not agent.service.is_connected)
        refused = agent.open(broker.lease("never-heard-of"))
        assert isinstance(refused, Failed)
        assert "did not confirm" in refused.error.message


class TestTheDoor:
    def test_a_signed_lease_opens_a_link(self, agent: Any, broker: Any, eventually: Eventually) -> None:
        broker.assign("s")
        opened = agent.open(broker.lease("s"))
        assert isinstance(opened, LinkOpened)
        assert opened.worker == "tcp://127.0.0.1:1"
        eventually(lambda: opened.link_id in agent.heard("s"))

    def test_a_forged_lease_is_refused(self, agent: Any, broker: Any) -> None:
        broker.assign("s")
        good = broker.lease("s")
        refused = agent.open(SignedLease(payload=good.payload.replace(b"s", b"z", 1), signature=good.signature))
        assert isinstance(refused, Failed)
        assert refused.error.code == "not_authorized"

    def test_a_lease_waits_for_the_brokers_word(self, agent: Any, broker: Any, eventually: Eventually) -> None:
        answer = agent.knock(broker.lease("s"))
        eventually(lambda: agent.pids("s"))
        broker.assign("s")
        assert isinstance(answer(), LinkOpened)

    def test_links_of_one_slice_share_a_worker(self, agent: Any, broker: Any) -> None:
        broker.assign("s")
        links = {agent.open(broker.lease("s"), holder=number == 0).link_id for number in range(3)}
        assert len(links) == 3
        assert len(agent.pids("s")) == 1

    def test_a_slow_worker_keeps_nobody_else_waiting(self, agent: Any, broker: Any) -> None:
        broker.assign("a-slow")
        broker.assign("b")
        slow = agent.knock(broker.lease("a-slow"))
        assert isinstance(agent.open(broker.lease("b")), LinkOpened)
        (agent.models / "go").touch()
        assert isinstance(slow(), LinkOpened)

    def test_a_worker_that_cannot_start_says_why(self, agent: Any, broker: Any) -> None:
        broker.assign("s-faults")
        refused = agent.open(broker.lease("s-faults"))
        assert isinstance(refused, Failed)
        assert refused.error.message == "the device is on fire"

    def test_a_released_slice_is_closed_to_its_old_lease(self, agent: Any, broker: Any, eventually: Eventually) -> None:
        broker.assign("s")
        agent.open(broker.lease("s"))
        broker.revoke("s")
        eventually(lambda: "lease_lost" in agent.heard("s"))
        refused = agent.open(broker.lease("s"))
        assert isinstance(refused, Failed)
        assert refused.error.code == "lease_lost"

    def test_a_malformed_message_is_answered(self, agent: Any) -> None:
        import zmq

        context = zmq.Context()
        socket = context.socket(zmq.DEALER)
        socket.linger = 0
        socket.connect(agent.service.door.address.zmq)
        socket.send_multipart([b"\x93\xa8nonsense"])
        assert socket.poll(5_000)
        assert b"protocol" in socket.recv()
        socket.close()
        context.term()


class TestWorkers:
    def test_a_resize_reaches_the_worker(self, agent: Any, broker: Any, eventually: Eventually) -> None:
        broker.assign("s")
        agent.open(broker.lease("s"))
        broker.assign("s", epoch=2, compute_pct=33, memory_mib=128)
        eventually(lambda: '["change",33,128,' in agent.heard("s"))
        assert agent.heard("s").count('["change"') == 1

    def test_whether_a_slice_can_shrink_is_its_workers_word(self, agent: Any, broker: Any, eventually: Eventually) -> None:
        broker.assign("s")
        agent.open(broker.lease("s"))
        broker.shrink("s", 32, "one")
        eventually(lambda: [row.request_id for row in broker.shrunk] == ["one"])
        assert broker.shrunk[0].error is None
        broker.shrink("s", 4, "two")
        eventually(lambda: len(broker.shrunk) == 2)
        assert broker.shrunk[1].error.message == "it uses 8 MiB"
        # The shrink has come to nothing: the old size holds, and the worker hears so.
        broker.assign("s")
        eventually(lambda: agent.heard("s").count('["change",10,64,0') == 1)
        broker.shrink("s", 9, "three")  # it dies of it, and holds nothing then
        eventually(lambda: len(broker.shrunk) == 3)
        assert broker.shrunk[2].error is None

    def test_a_slice_without_a_worker_can_always_shrink(self, agent: Any, broker: Any, eventually: Eventually) -> None:
        broker.assign("s")
        broker.shrink("s", 4)
        eventually(lambda: broker.shrunk)
        assert broker.shrunk[0].error is None

    def test_a_dead_worker_is_replaced_for_the_next_link(self, agent: Any, broker: Any, eventually: Eventually) -> None:
        broker.assign("s")
        agent.open(broker.lease("s"))
        (pid,) = agent.pids("s")
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: agent.service.snapshot.worker_deaths)
        assert isinstance(agent.open(broker.lease("s")), LinkOpened)
        assert len(agent.pids("s")) == 2
        assert not psutil.pid_exists(pid)

    def test_a_worker_that_ignores_stop_is_killed(self, agent: Any, broker: Any, eventually: Eventually) -> None:
        broker.assign("s-deaf")
        agent.open(broker.lease("s-deaf"))
        (pid,) = agent.pids("s-deaf")
        broker.revoke("s-deaf")
        eventually(lambda: "Stop" in agent.heard("s-deaf"))
        eventually(lambda: not psutil.pid_exists(pid))
        assert agent.pids("s-deaf") == [pid]

    def test_a_lost_holder_is_reported_until_the_broker_acts(self, agent: Any, broker: Any, eventually: Eventually) -> None:
        (agent.models / "leave").touch()
        broker.assign("s")
        agent.open(broker.lease("s"))
        eventually(lambda: [beat for beat in broker.beats if beat.lost and beat.lost[0].slice_id == "s"])
        broker.revoke("s", "its holder is gone")
        seen = len(broker.beats)
        eventually(lambda: len(broker.beats) > seen + 1 and not broker.beats[-1].lost)
        assert {row.slice_id for beat in broker.beats for row in beat.lost} == {"s"}

    def test_use_travels_with_the_beat_once(self, agent: Any, broker: Any, eventually: Eventually) -> None:
        (agent.models / "work").touch()
        broker.assign("s", hold=Hold.HELD)
        agent.open(broker.lease("s"))
        (row,) = eventually(lambda: [row for beat in broker.beats for row in beat.use])
        assert (row.slice_id, row.device_ns, row.throttled_ns, row.calls, row.memory_bytes) == ("s", 1_000, 5, 1, 77)
        seen = len(broker.beats)
        eventually(lambda: len(broker.beats) > seen + 1)
        assert len([row for beat in broker.beats for row in beat.use]) == 1

    def test_each_worker_hears_first_what_the_slice_had_used_before_it(
        self, agent: Any, broker: Any, eventually: Eventually
    ) -> None:
        (agent.models / "work").touch()
        broker.assign("s", hold=Hold.HELD, device_ns=5_000, throttled_ns=50, calls=3)
        agent.open(broker.lease("s"))
        eventually(lambda: [row for beat in broker.beats for row in beat.use])
        (pid,) = agent.pids("s")
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: agent.service.snapshot.worker_deaths)
        agent.open(broker.lease("s"))

        def told() -> list[str]:
            return [line for line in agent.heard("s").splitlines() if line.startswith(("Before", "Admit"))]

        eventually(lambda: [line.partition(" ")[0] for line in told()] == ["Before", "Admit"] * 2)
        assert told()[0].endswith('["before",5000,50,3,0]')
        assert told()[2].endswith('["before",6000,55,4,0]')
        eventually(lambda: agent.service.snapshot.used["s"] == (6_000, 55, 4, 0))

    def test_workers_see_no_secrets(
        self, start_agent: Callable[..., Any], broker: Any, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GPUPOOL_JOIN_TOKEN", "secret")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        agent = start_agent()
        broker.assign("s")
        eventually(lambda: broker.beats)
        agent.open(broker.lease("s"))
        environment = agent.heard("s").splitlines()[1].split()
        assert "PATH" in environment
        assert "TMPDIR" in environment
        assert not [name for name in environment if name.startswith(("GPUPOOL_", "AWS_"))]

    def test_an_idle_worker_is_stopped_and_its_slice_stays(
        self, agent: Any, broker: Any, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gpupool_agent.hosting.IDLE_NS", 50_000_000)
        (agent.models / "leave").touch()
        broker.assign("s", hold=Hold.HELD)
        agent.open(broker.lease("s"))
        (pid,) = agent.pids("s")
        eventually(lambda: not psutil.pid_exists(pid))
        assert isinstance(agent.open(broker.lease("s")), LinkOpened)
        assert len(agent.pids("s")) == 2
        assert agent.service.snapshot.worker_deaths == 0

    def test_a_worker_that_never_becomes_ready_is_given_up(
        self, agent: Any, broker: Any, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
    ) -> None:
        monkeypatch.setattr("gpupool_agent.hosting.START_NS", 200_000_000)
        others = set(psutil.Process().children())
        broker.assign("a-slow")
        refused = agent.open(broker.lease("a-slow"))
        assert isinstance(refused, Failed)
        assert "not ready within" in refused.error.message
        eventually(lambda: set(psutil.Process().children()) <= others)

    def test_the_end_of_the_agent_is_the_end_of_its_workers(self, agent: Any, broker: Any) -> None:
        broker.assign("s")
        agent.open(broker.lease("s"))
        agent.stop()
        assert "worker_lost" in agent.heard("s")
        assert not psutil.pid_exists(agent.pids("s")[0])


def test_slices_leave_nothing_behind(agent: Any, broker: Any, eventually: Eventually) -> None:
    """No process, descriptor, file or table row is left of fifty slices that were made, opened and released."""
    me = psutil.Process()
    others = set(me.children())
    broker.assign("warm-up", hold=Hold.HELD)
    agent.open(broker.lease("warm-up"))
    broker.revoke("warm-up")
    eventually(lambda: set(me.children()) <= others)
    before = me.num_fds()
    for batch in range(10):
        names = [f"s{batch}-{number}" for number in range(5)]
        for name in names:
            broker.assign(name, hold=Hold.HELD)
        answers = [agent.knock(broker.lease(name)) for name in names]
        assert all(isinstance(answer(), LinkOpened) for answer in answers)
        for name in names:
            broker.revoke(name)
    eventually(lambda: set(me.children()) <= others)
    eventually(lambda: me.num_fds() <= before)
    assert list((agent.settings.state_dir / "scratch").iterdir()) == []
    eventually(lambda: not agent.service.snapshot.slices)
    assert agent.service.snapshot.workers == 0
    eventually(lambda: not agent.service.snapshot.standing)
