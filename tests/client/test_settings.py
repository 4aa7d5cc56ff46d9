from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gpupool.locks import FileLock
from gpupool.settings import RunningPool, broker_url, client_token, rest_address, running_pool, wanted_size, wants_batching
from gpupool_wire.errors import NotAuthorized, PoolUnreachable, UsageError

POOL = RunningPool(url="tcp://127.0.0.1:7171", http="http://127.0.0.1:7272", pids={"up": os.getpid()})


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Any]:
    (tmp_path / "pool.json").write_bytes(msgspec.json.encode(POOL))
    lock = FileLock(tmp_path / "up.lock")
    assert lock.take()
    yield tmp_path
    lock.release()


def test_the_pool_of_this_machine_is_found(running: Path) -> None:
    environ = {"GPUPOOL_HOME": str(running)}
    assert running_pool(running) == POOL
    assert broker_url(environ=environ) == POOL.url
    assert rest_address(environ=environ) == POOL.http


def test_what_a_killed_pool_left_is_no_pool(tmp_path: Path) -> None:
    (tmp_path / "pool.json").write_bytes(msgspec.json.encode(POOL))
    (tmp_path / "up.lock").touch()
    assert running_pool(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"url": 3}', b"\xff"])
def test_a_damaged_file_is_no_pool(running: Path, content: Any) -> None:
    (running / "pool.json").write_bytes(content)
    assert running_pool(running) is None


def test_arguments_come_before_variables_and_those_before_the_machine(running: Path) -> None:
    environ = {"GPUPOOL_HOME": str(running), "GPUPOOL_URL": "gpu.example", "GPUPOOL_TOKEN": " t1\n"}
    assert broker_url("other:9", environ) == "tcp://other:9"
    assert broker_url(environ=environ) == "tcp://gpu.example:7100"
    assert rest_address(environ=environ) == "http://gpu.example:7180"
    assert rest_address(environ=environ | {"GPUPOOL_HTTP": "https://x:1"}) == "https://x:1"
    assert client_token("t0", environ) == "t0"
    assert client_token(environ=environ) == "t1"


def test_several_brokers_may_be_named(tmp_path: Path) -> None:
    key = "ab" * 32
    environ = {"GPUPOOL_URL": f"one,curve://{key}@two:9, tcp://one:7100"}
    assert broker_url(environ=environ) == f"tcp://one:7100,curve://{key}@two:9"
    assert rest_address(environ=environ) == "http://one:7180,http://two:7180"
    with pytest.raises(UsageError, match="curve:// needs the key"):
        broker_url("one,curve://two")


def test_the_admin_token_of_the_home_is_the_last_resort(tmp_path: Path) -> None:
    environ = {"GPUPOOL_HOME": str(tmp_path)}
    with pytest.raises(NotAuthorized, match="set GPUPOOL_TOKEN"):
        client_token(environ=environ)
    (tmp_path / "admin.token").write_text("secret\n")
    assert client_token(environ=environ) == "secret"


def test_batching_is_on_or_off() -> None:
    assert wants_batching({})
    assert wants_batching({"GPUPOOL_BATCHING": "On "})
    assert not wants_batching({"GPUPOOL_BATCHING": "off"})
    with pytest.raises(UsageError, match="'maybe': it is on or off"):
        wants_batching({"GPUPOOL_BATCHING": "maybe"})


def test_no_pool_at_all_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(PoolUnreachable, match=r"gpupool up.*GPUPOOL_URL"):
        broker_url(environ={"GPUPOOL_HOME": str(tmp_path)})


def test_the_wanted_size_has_defaults_and_is_checked() -> None:
    assert wanted_size({}) == (25, 2048)
    assert wanted_size({"GPUPOOL_COMPUTE": "40%", "GPUPOOL_MEMORY": "1GiB"}) == (40, 1024)
    with pytest.raises(UsageError, match="GPUPOOL_COMPUTE: compute must be 1 to 100"):
        wanted_size({"GPUPOOL_COMPUTE": "0"})
    with pytest.raises(UsageError, match="GPUPOOL_MEMORY: memory"):
        wanted_size({"GPUPOOL_MEMORY": "much"})
