from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gpupool.control import Control
from gpupool_wire import messages as m
from gpupool_wire.errors import NotAuthorized, PoolUnreachable, RemoteProtocolError, SliceRefused
from gpupool_wire.units import Policy

#: Whom the fake broker knows.
TOKEN = "gpp_tenant_letmein"


def wanted(compute_pct: int, memory_mib: int, *, wait_s: float = 0.0, **more: Any) -> m.RequestSlice:
    return m.RequestSlice(
        call_id=0,
        request_id=uuid.uuid4().hex,
        compute_pct=compute_pct,
        memory_mib=memory_mib,
        wait_ms=int(wait_s * 1000),
        **more,
    )


@pytest.fixture
def control(fakes: Any) -> Iterator[Any]:
    control = fakes.control()
    yield control
    control.close()


def test_the_broker_names_the_tenant(control: Control) -> None:
    control.connect()
    assert (control.tenant, control.broker) == ("acme", "fake")


def test_a_granted_slice_has_the_size_asked_for(control: Control) -> None:
    granted = control.request_slices(wanted(30, 512, policy=Policy.BURST, label="x"))[0]
    assert (granted.compute_pct, granted.memory_mib, granted.policy) == (30, 512, Policy.BURST)


def test_a_refusal_carries_the_numbers_and_the_conversation_goes_on(control: Control, fakes: Any) -> None:
    with pytest.raises(SliceRefused, match="5000 MiB asked") as caught:
        control.request_slices(wanted(30, 5000))
    assert caught.value.details == {"asked_mib": 5000}
    control.request_slices(wanted(30, 100))
    assert sum(isinstance(message, m.Hello) for message in fakes.broker.heard) == 1


def test_nobody_at_the_address_is_said_within_the_timeout() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else can take it
        control = Control(f"tcp://127.0.0.1:{taken.getsockname()[1]}", "token", timeout_s=0.5)
        start = time.monotonic()
        with pytest.raises(PoolUnreachable, match=r"no broker answers at tcp://127\.0\.0\.1:.*refused.*gpupool up.*GPUPOOL_URL"):
            control.connect()
        assert time.monotonic() - start < 3
        control.close()


def test_a_host_that_accepts_and_says_nothing_is_unreachable() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        control = Control(f"tcp://127.0.0.1:{mute.getsockname()[1]}", "token", timeout_s=0.5)
        with pytest.raises(PoolUnreachable, match="did not answer in time"):
            control.connect()
        control.close()


def test_a_name_that_means_nothing_is_said_to_be_the_reason() -> None:
    control = Control("tcp://no-such-host.invalid:7100", "token", timeout_s=0.3)
    with pytest.raises(PoolUnreachable, match="its host name means nothing here"):
        control.connect()
    control.close()


def test_a_wrong_token_is_refused(fakes: Any) -> None:
    control = fakes.control(token="gpp_tenant_wrong")
    with pytest.raises(NotAuthorized, match="not known"):
        control.connect()
    control.close()


def test_another_protocol_version_is_named(fakes: Any, control: Control) -> None:
    fakes.broker.version = m.PROTOCOL_VERSION + 1
    with pytest.raises(RemoteProtocolError, match=f"version {m.PROTOCOL_VERSION + 1}, this side {m.PROTOCOL_VERSION}"):
        control.connect()


def test_a_restarted_broker_is_greeted_again(control: Control, fakes: Any) -> None:
    control.connect()
    fakes.new_broker()
    assert control.request_slices(wanted(10, 10))[0].slice_id == "slice-1"


def test_a_broker_that_forgot_us_is_greeted_again(control: Control, fakes: Any) -> None:
    control.connect()
    fakes.broker.peers.clear()
    control.connect()
    assert sum(isinstance(message, m.Hello) for message in fakes.broker.heard) == 2


def test_a_repeated_request_is_granted_once(control: Control, fakes: Any) -> None:
    """The broker grants, and dies before its answer arrives: the repeat gets the recorded answer."""
    control.connect()
    fakes.broker.silent_to = m.RequestSlice

    def restart() -> None:
        deadline = time.monotonic() + 5
        while not any(isinstance(message, m.RequestSlice) for message in fakes.broker.heard):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        asked = next(message for message in fakes.broker.heard if isinstance(message, m.RequestSlice))
        fakes.broker.granted["slice-1"] = asked
        fakes.new_broker()

    restarting = threading.Thread(target=restart)
    restarting.start()
    assert control.request_slices(wanted(10, 10))[0].slice_id == "slice-1"
    restarting.join()
    assert len(fakes.broker.granted) == 1


def test_a_long_wait_does_not_hold_up_a_release(control: Control, fakes: Any, eventually: Callable[..., None]) -> None:
    control.connect()
    fakes.broker.silent_to = m.RequestSlice
    errors: list[Exception] = []

    def wait() -> None:
        try:
            control.request_slices(wanted(10, 10, wait_s=60))
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    eventually(lambda: any(isinstance(message, m.RequestSlice) for message in fakes.broker.heard))
    asked = next(message for message in fakes.broker.heard if isinstance(message, m.RequestSlice))
    assert asked.wait_ms == 60_000
    fakes.broker.granted["other"] = asked
    control.release_slice("other")
    fakes.broker.silent_to = None
    fakes.new_broker()
    thread.join(10)
    assert not errors
    assert not thread.is_alive()


def test_many_threads_share_one_conversation(control: Control, fakes: Any) -> None:
    threads = [threading.Thread(target=control.request_slices, args=(wanted(1, 1),)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(fakes.broker.granted) == 16
    assert sum(isinstance(message, m.Hello) for message in fakes.broker.heard) == 1


# ── several brokers ──────


@pytest.fixture
def deaf() -> Iterator[str]:
    """A host that takes connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"


def test_the_next_broker_is_asked_where_one_is_not_there(fakes: Any) -> None:
    control = Control(f"tcp://127.0.0.1:9,{fakes.broker.address}", TOKEN)
    start = time.monotonic()
    control.connect()
    assert time.monotonic() - start < 1
    assert control.request_slices(wanted(30, 100))[0].compute_pct == 30
    control.close()


def test_a_broker_that_says_nothing_is_passed_over(fakes: Any, deaf: str) -> None:
    control = Control(f"{deaf},{fakes.broker.address}", TOKEN)
    start = time.monotonic()
    control.connect()
    assert time.monotonic() - start < 3
    control.close()


def test_the_broker_that_serves_is_kept(fakes: Any) -> None:
    control = Control(f"tcp://127.0.0.1:9,{fakes.broker.address}", TOKEN)
    control.connect()
    fakes.new_broker()
    control.connect()
    assert control._urls[0] == fakes.broker.address
    control.close()


def test_a_question_waits_for_the_standby_to_take_over(fakes: Any) -> None:
    control = Control(f"{fakes.broker.address},tcp://127.0.0.1:9", TOKEN, timeout_s=0.5)
    control.connect()
    fakes.broker.kill()
    revival = threading.Timer(1.5, fakes.new_broker)
    revival.start()
    assert control.request_slices(wanted(30, 100))[0].compute_pct == 30
    revival.join()
    control.close()


def test_where_no_broker_answers_all_are_named(deaf: str) -> None:
    control = Control(f"tcp://127.0.0.1:9,{deaf},tcp://nowhere.invalid:1", TOKEN, timeout_s=2.5)
    with pytest.raises(PoolUnreachable) as caught:
        control.connect()
    assert "at tcp://127.0.0.1:9 (" in caught.value.message
    assert f", nor at {deaf} (" in caught.value.message
    assert ", nor at tcp://nowhere.invalid:1 (its host name means nothing here" in caught.value.message
    control.close()
