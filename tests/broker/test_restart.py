"""What a broker acknowledged survives kill -9."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import time

import pytest

from gpupool_wire import messages as m

pytestmark = pytest.mark.system


def ask_for(call_id: int) -> m.RequestSlice:
    return m.RequestSlice(call_id=call_id, request_id=f"r{call_id}", compute_pct=1, memory_mib=1, kind="null", hold="held")  # type: ignore[arg-type]


def test_what_was_acknowledged_is_there_after_kill_9(start_broker, agent, client) -> None:
    broker = start_broker()
    node = agent(broker)
    app = client(broker)
    for call_id in range(1, 60):
        app.send(ask_for(call_id))
    acknowledged = {app.receive().slice_id for _ in range(20)}
    broker.kill()
    while app.socket.poll(100):
        message = app.receive()
        acknowledged.add(message.slice_id)
    again = start_broker(broker.home)
    live = {row["slice_id"]: row for row in again.rest("GET", "/api/v1/slices")[1]}
    assert acknowledged <= set(live)
    (device,) = again.rest("GET", "/api/v1/devices")[1]
    assert device["compute_allocated_pct"] == len(live)
    welcome = agent(again, credential=node.welcome.credential).welcome
    assert {slice_.slice_id for slice_ in welcome.slices} == set(live)


def test_a_repeat_after_the_restart_gets_the_recorded_answer(start_broker, agent, client) -> None:
    broker = start_broker()
    agent(broker)
    first = client(broker).ask(ask_for(7))
    broker.kill()
    again = start_broker(broker.home)
    repeated = client(again).ask(ask_for(7))
    assert repeated.slice_id == first.slice_id


def test_nodes_are_not_called_lost_for_the_brokers_own_absence(start_broker, agent) -> None:
    broker = start_broker()
    credential = agent(broker).welcome.credential
    broker.kill()
    again = start_broker(broker.home)
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        assert again.rest("GET", "/api/v1/nodes")[1][0]["state"] == "up"
        time.sleep(0.1)
    agent(again, credential=credential)


def test_a_damaged_journal_is_refused_with_its_position(start_broker, agent, client) -> None:
    broker = start_broker()
    agent(broker)
    client(broker).ask(ask_for(1))
    broker.process.terminate()
    broker.process.wait(15)
    database = sqlite3.connect(broker.home / "broker" / "broker.sqlite")
    database.execute("UPDATE journal SET record = x'c1c1', size = 2 WHERE seq = 2")
    database.commit()
    database.close()
    with pytest.raises(AssertionError, match="record 2 of the journal cannot be read"):
        start_broker(broker.home)


def test_a_journal_is_verified_on_demand(start_broker, agent, client) -> None:
    broker = start_broker()
    agent(broker)
    client(broker).ask(ask_for(1))
    command = [sys.executable, "-m", "gpupool", "broker", "--verify-journal", "--home", str(broker.home)]
    while_it_runs = subprocess.run(command, capture_output=True, text=True, timeout=60)
    # More than two where the node, which does not beat, is given up meanwhile.
    assert re.fullmatch(r"all [2-9] records of the journal are as they were written\n", while_it_runs.stdout)
    assert while_it_runs.returncode == 0
    broker.kill()
    database = sqlite3.connect(broker.home / "broker" / "broker.sqlite")
    database.execute("UPDATE journal SET record = x'c1c1', size = 2")
    database.commit()
    database.close()
    damaged = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert damaged.returncode == 1
    assert "record 1 of the journal cannot be read" in damaged.stdout
    assert re.search(r"[2-9] records of the journal are damaged: 1, 2", damaged.stderr)
