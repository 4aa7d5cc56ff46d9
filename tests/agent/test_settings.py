"""What can be set for an agent, and what is refused with a way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpupool_agent.settings import agent_settings, parse_ports
from gpupool_wire.errors import UsageError


def test_the_defaults_are_those_of_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUPOOL_HOME", "/srv/gpupool")
    settings = agent_settings()
    assert [str(broker) for broker in settings.brokers] == ["127.0.0.1:7100"]
    assert str(settings.door) == "127.0.0.1:7200"
    assert str(settings.metrics) == "127.0.0.1:7190"
    assert settings.worker_ports == (7201, 7999)
    assert settings.state_dir == Path("/srv/gpupool/agent")


def test_beyond_loopback_traffic_is_encrypted_unless_told_otherwise() -> None:
    assert not agent_settings().encrypt
    assert agent_settings(bind="10.0.0.1:7200").encrypt
    with pytest.raises(UsageError, match="--insecure"):
        agent_settings(bind="10.0.0.1:7200", encrypt=False)
    insecure = agent_settings(bind="10.0.0.1:7200", insecure=True)
    assert (insecure.advertise_host, insecure.encrypt) == ("10.0.0.1", False)


def test_metrics_beyond_loopback_need_insecure_too() -> None:
    with pytest.raises(UsageError, match="--insecure"):
        agent_settings(metrics="0.0.0.0:7190")


def test_any_address_needs_one_to_advertise() -> None:
    with pytest.raises(UsageError, match="--advertise"):
        agent_settings(bind="0.0.0.0:7200", insecure=True)
    settings = agent_settings(bind="0.0.0.0:7200", advertise="gpu-7.example", insecure=True)
    assert (settings.advertise_host, settings.advertise_port) == ("gpu-7.example", 0)


def test_metrics_may_be_left_out() -> None:
    assert agent_settings(metrics="none").metrics is None


@pytest.mark.parametrize(("text", "ports"), [("7201-7999", (7201, 7999)), ("9000", (9000, 9000)), ("0", (0, 0))])
def test_ports(text: str, ports: tuple[int, int]) -> None:
    assert parse_ports(text) == ports


@pytest.mark.parametrize("text", ["", "a", "9-8", "0-5", "1-70000", "-5", "5-"])
def test_impossible_ports_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--worker-ports"):
        parse_ports(text)


def test_several_brokers_are_tried_in_the_order_they_are_named() -> None:
    key = "ab" * 32
    brokers = agent_settings(broker=f"curve://{key}@one:1, two,tcp://three:3,two:7100").brokers
    assert [broker.url for broker in brokers] == [f"curve://{key}@one:1", "tcp://two:7100", "tcp://three:3"]
    with pytest.raises(UsageError, match="names no address"):
        agent_settings(broker=" , ")


def test_labels_of_a_node() -> None:
    assert agent_settings(labels=("zone=a", "tflops=60")).labels == {"zone": "a", "tflops": "60"}


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (("zone",), "NAME=VALUE"),
        (("=a",), "NAME=VALUE"),
        (("zone=" + "x" * 64,), "63 characters"),
        (("a=1", "a=2"), "given twice"),
    ],
)
def test_impossible_labels_are_refused(labels: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        agent_settings(labels=labels)
