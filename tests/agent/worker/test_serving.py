"""What a real worker process does with clients that behave, and with those that do not."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from onnx import TensorProto, helper

from gpupool_agent.channel import Changed, LinkGone, Refused, Use
from gpupool_agent.standalone import StandaloneWorker
from gpupool_wire import messages as m
from gpupool_wire.errors import (
    Conflict,
    ErrorInfo,
    ExecutionFailed,
    LocalProtocolError,
    ModelEvicted,
    ModelRejected,
    NotAuthorized,
    NotFound,
    OutOfSliceMemory,
    UsageError,
    from_info,
)
from gpupool_wire.limits import CLIENT_LOST_S, MAX_HEADER_BYTES
from gpupool_wire.tensors import TensorSpec, ValueSpec
from gpupool_wire.units import MIB

pytestmark = pytest.mark.system
Connect = Callable[..., Any]
Start = Callable[..., StandaloneWorker]
Eventually = Callable[..., Any]
X = {"x": np.arange(4, dtype=np.float32)}


def failure(client: Any) -> Exception:
    answer, _ = client.receive()
    assert isinstance(answer, m.Failed)
    return from_info(answer.error)


# ── calls ──────


def test_a_model_is_uploaded_once_opened_and_run(client: Any, models: Any) -> None:
    opened = client.open(models.doubling())
    assert [(info.name, info.type, info.shape) for info in opened.inputs] == [("x", "tensor(float)", ["n"])]
    assert opened.providers == ["CPUExecutionProvider"]
    (y,) = client.run(opened.session_id, X)
    assert np.array_equal(y, 2 * X["x"])
    assert client.timing.execute_ns > 0


def test_results_stay_right_over_many_short_calls(client: Any, models: Any) -> None:
    session_id = client.open(models.doubling()).session_id
    for length in [*range(64), 5000, 1, 300_000, 2]:
        x = np.full(length, length, np.float32)
        (y,) = client.run(session_id, {"x": x})
        assert np.array_equal(y, x + x)


def test_two_links_share_the_weights_of_one_model(start_worker: Start, connect: Connect, models: Any) -> None:
    worker = start_worker(memory_mib=128)
    first, second = (connect(worker, worker.admit(f"link-{i}")) for i in range(2))
    model = models.weighty(40)
    opened = [client.open(model) for client in (first, second, second)]
    assert opened[0].weight_bytes >= 40 * MIB
    used = first.usage()
    assert used.sessions == 3
    assert used.memory_used_bytes == opened[0].weight_bytes
    for client, session in zip((first, second, second), opened, strict=True):
        client.expect(m.SessionClosed, m.CloseSession(call_id=9, session_id=session.session_id))
    assert first.usage().memory_used_bytes == 0


def test_a_session_belongs_to_the_link_that_opened_it(shared_worker: StandaloneWorker, connect: Connect, models: Any) -> None:
    owner, stranger = (connect(shared_worker, shared_worker.admit(f"owner-{i}")) for i in range(2))
    session_id = owner.open(models.doubling()).session_id
    with pytest.raises(NotFound):
        stranger.run(session_id, X)
    with pytest.raises(NotFound):
        stranger.expect(m.SessionClosed, m.CloseSession(call_id=1, session_id=session_id))
    assert len(owner.run(session_id, X)) == 1


def test_a_closed_session_is_gone_and_others_stay(client: Any, models: Any) -> None:
    first, second = (client.open(models.doubling()).session_id for _ in range(2))
    client.expect(m.SessionClosed, m.CloseSession(call_id=1, session_id=first))
    with pytest.raises(NotFound):
        client.run(first, X)
    assert len(client.run(second, X)) == 1


def test_eight_channels_call_at_the_same_time(shared_worker: StandaloneWorker, connect: Connect, models: Any) -> None:
    ticket = shared_worker.admit("eight")
    clients = [connect(shared_worker, ticket) for _ in range(8)]
    session_id = clients[0].open(models.doubling()).session_id
    wrong: list[object] = []

    def call(client: Any, number: int) -> None:
        for i in range(100):
            x = np.full(1 + (i * 997) % 40_000, number * 1000 + i, np.float32)
            (y,) = client.run(session_id, {"x": x})
            if not np.array_equal(y, x + x):
                wrong.append((number, i))

    threads = [threading.Thread(target=call, args=(client, number)) for number, client in enumerate(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


def test_usage_counts_calls_and_executed_time(start_worker: Start, connect: Connect, models: Any) -> None:
    worker = start_worker(memory_mib=256)
    client = connect(worker, worker.admit("link"))
    session_id = client.open(models.slow()).session_id
    x = np.zeros((640, 640), np.float32)
    executed_ns = 0
    for _ in range(5):
        client.run(session_id, {"x0": x})
        executed_ns += client.timing.execute_ns
    usage = client.usage()
    assert usage.calls == 5
    assert usage.device_ns >= executed_ns
    reported = worker.wait_for(Use, matches=lambda use: use.calls > 0)
    assert reported.device_ns > 0
    settled = sum(settle.used_ns for settle in worker.settled)
    assert settled >= executed_ns * 0.9


def test_open_models_are_reported_and_when_they_are_closed(start_worker: Start, connect: Connect, models: Any) -> None:
    worker = start_worker(memory_mib=256)
    client = connect(worker, worker.admit("link"))
    heavy = client.open(models.weighty(2))
    client.open(models.doubling())
    told = worker.wait_for(Use, matches=lambda use: use.model_count == 2)
    assert told.models[0].weight_bytes == heavy.weight_bytes
    assert all(model.is_loaded and model.sessions == 1 and model.name for model in told.models)
    client.expect(m.SessionClosed, m.CloseSession(call_id=9, session_id=heavy.session_id))
    assert len(worker.wait_for(Use, matches=lambda use: use.model_count == 1).models) == 1


# ── what onnxruntime says ──────


@pytest.mark.parametrize(
    ("feed", "outputs"),
    [
        ({}, None),
        ({"wrong": X["x"]}, None),
        ({"x": X["x"].astype(np.int64)}, None),
        ({"x": np.zeros((2, 2), np.float32)}, None),
        (X, ["nothing"]),
        (X, ["y", "y"]),
        ({"x": np.array(["text"], object)}, None),
        ({"x": None}, None),
    ],
)
def test_errors_are_onnxruntimes_own(client: Any, models: Any, feed: Any, outputs: Any) -> None:
    import onnxruntime as ort

    local = ort.InferenceSession(models.doubling(), providers=["CPUExecutionProvider"])
    session_id = client.open(models.doubling()).session_id
    theirs: Exception | None = None
    try:
        expected = local.run(outputs, feed)
    except Exception as error:
        theirs = error
    if theirs is None:
        assert all(np.array_equal(a, b) for a, b in zip(client.run(session_id, feed, outputs), expected, strict=True))
        return
    with pytest.raises(ExecutionFailed) as caught:
        client.run(session_id, feed, outputs)
    assert caught.value.details["ort_class"] == type(theirs).__name__
    assert caught.value.message == str(theirs)


def test_a_model_onnxruntime_rejects_is_rejected_in_its_words(client: Any, models: Any) -> None:
    import onnxruntime as ort

    info = helper.make_tensor_value_info
    node = helper.make_node("NoSuchOperator", ["x"], ["y"])
    values = [info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    model = models.serialized(helper.make_graph([node], "g", values[:1], values[1:]))
    with pytest.raises(Exception, match="NoSuchOperator") as local:
        ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    with pytest.raises(ModelRejected) as caught:
        client.open(model)
    assert caught.value.message == str(local.value)
    assert caught.value.details["ort_class"] == type(local.value).__name__


def test_bytes_that_are_no_model_are_rejected_as_locally(client: Any) -> None:
    import onnxruntime as ort

    model = b"this is no model at all" * 10
    with pytest.raises(Exception, match="protobuf") as local:
        ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    with pytest.raises(ModelRejected) as caught:
        client.open(model)
    assert caught.value.message == str(local.value)
    assert caught.value.details["ort_class"] == type(local.value).__name__


@pytest.mark.parametrize(
    "options",
    [
        m.ModelOptions(config={"session.save_model_format": "ORT"}),
        m.ModelOptions(config={"ep.context_file_path": "/etc/passwd"}),
        m.ModelOptions(graph_optimization_level=7),
        m.ModelOptions(execution_mode=5),
        m.ModelOptions(providers=["CUDAExecutionProvider"]),
    ],
)
def test_options_beyond_the_allow_list_are_refused(client: Any, models: Any, options: m.ModelOptions) -> None:
    with pytest.raises(UsageError):
        client.open(models.doubling(), options)


def test_options_on_the_allow_list_are_taken(client: Any, models: Any) -> None:
    options = m.ModelOptions(
        graph_optimization_level=0,
        execution_mode=1,
        intra_op_num_threads=1,
        inter_op_num_threads=64,
        enable_mem_pattern=False,
        enable_mem_reuse=False,
        log_severity_level=0,
        logid="mine",
        use_deterministic_compute=True,
        config={"session.set_denormal_as_zero": "1"},
        free_dimensions_by_name={"n": 4},
        providers=["CPUExecutionProvider"],
    )
    opened = client.open(models.doubling(), options)
    assert opened.inputs[0].shape == [4]
    assert len(client.run(opened.session_id, X, config={"log_severity_level": "0", "logid": "mine"})) == 1


def test_a_run_option_beyond_the_allow_list_is_refused(client: Any, models: Any) -> None:
    session_id = client.open(models.doubling()).session_id
    with pytest.raises(UsageError, match="gpu_graph_id"):
        client.run(session_id, X, config={"gpu_graph_id": "1"})


@pytest.mark.parametrize("labels", [{"classlabels_int64s": [3, 9]}, {"classlabels_strings": ["猫", "dog"]}])
def test_maps_come_back_as_onnxruntime_gives_them(client: Any, models: Any, labels: dict[str, Any]) -> None:
    import onnxruntime as ort

    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", **labels)
    key = TensorProto.INT64 if "classlabels_int64s" in labels else TensorProto.STRING
    value = helper.make_map_type_proto(key, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    y = helper.make_value_info("y", helper.make_sequence_type_proto(value))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])
    model = models.serialized(helper.make_graph([node], "g", [x], [y]), **{"ai.onnx.ml": 1})
    feed = {"x": np.array([[0.25, 0.75], [1, 0]], np.float32)}
    expected = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, feed)
    assert client.run(client.open(model).session_id, feed) == expected


# ── clients that do not behave ──────


def test_a_wrong_ticket_is_refused_and_may_be_corrected(shared_worker: StandaloneWorker, connect: Connect) -> None:
    client = connect(shared_worker)
    with pytest.raises(NotAuthorized):
        client.join(b"0" * 32)
    assert client.join(shared_worker.admit("corrected")).device == "cpu0"


def test_calls_before_joining_are_refused(shared_worker: StandaloneWorker, connect: Connect) -> None:
    client = connect(shared_worker)
    for message in (m.Ping(call_id=1), m.AskUsage(call_id=1), m.Run(call_id=1, session_id=1, feed=[]), m.Leave()):
        client.send(message)
        assert isinstance(failure(client), LocalProtocolError)


def test_joining_twice_is_out_of_order(client: Any) -> None:
    client.send(m.Join(version=m.PROTOCOL_VERSION, ticket=b"0" * 32))
    assert isinstance(failure(client), LocalProtocolError)
    assert isinstance(client.ask(m.Ping(call_id=3)), m.Pong)


def test_another_protocol_version_is_refused_with_both_named(shared_worker: StandaloneWorker, connect: Connect) -> None:
    client = connect(shared_worker)
    client.send(m.Join(version=77, ticket=shared_worker.admit("future")))
    assert "77" in str(failure(client))


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"\x00"],
        [b"not messagepack at all \xff\xfe"],
        [b"\xc1" * 100],
        [b"\x93" * 5000],
        [b"x" * (MAX_HEADER_BYTES + 1)],
        [b"", b"", b""],
        [b"\x91\xa3run"],
        [b"\x92\xa4ping\xa3abc"],
    ],
)
def test_malformed_frames_get_a_typed_error(client: Any, frames: list[bytes]) -> None:
    client.socket.send_multipart(frames)
    assert isinstance(failure(client), LocalProtocolError)
    assert isinstance(client.ask(m.Ping(call_id=3)), m.Pong)


def test_a_frame_over_the_limit_ends_the_connection_and_nothing_else(
    shared_worker: StandaloneWorker, connect: Connect, client: Any
) -> None:
    hostile = connect(shared_worker, shared_worker.admit("hostile"))
    hostile.send(m.Ping(call_id=1), [b"\0" * (65 * MIB)])
    assert isinstance(client.ask(m.Ping(call_id=3)), m.Pong)


def test_frames_that_do_not_fit_their_header_are_refused(client: Any, models: Any) -> None:
    session_id = client.open(models.doubling()).session_id
    cases: tuple[tuple[list[tuple[str, ValueSpec]], list[bytes]], ...] = (
        ([("x", TensorSpec("float32", (4,), 1, 16))], [b"\0" * 15]),
        ([("x", TensorSpec("float32", (4,), 1, 16))], []),
        ([("x", TensorSpec("float32", (4,), 1, 16))], [b"\0" * 16, b"more"]),
        ([("x", TensorSpec("float32", (2**40,), 1, 16))], [b"\0" * 16]),
        ([("x", TensorSpec("object", (4,), 1, 16))], [b"\0" * 16]),
        ([("x", TensorSpec("float32", (4,), 1, 16, "zip"))], [b"\0" * 16]),
        ([("x", TensorSpec("float32", (4,), 1, 16))] * 2, [b"\0" * 16] * 2),
    )
    for feed, frames in cases:
        client.send(m.Run(call_id=5, session_id=session_id, feed=feed), frames)
        assert isinstance(failure(client), LocalProtocolError)
    assert len(client.run(session_id, X)) == 1


def test_a_second_call_in_flight_is_refused_and_the_first_answered(client: Any, models: Any) -> None:
    session_id = client.open(models.slow()).session_id
    x = {"x0": np.zeros((640, 640), np.float32)}
    client.run(session_id, x)  # warm
    first, second = client.send_run(session_id, x), client.send_run(session_id, x)
    answers = {answer.call_id: type(answer) for answer in (client.receive()[0] for _ in range(2))}
    assert answers == {first: m.Result, second: m.Failed}


def test_pings_are_answered_during_a_call(client: Any, models: Any) -> None:
    session_id = client.open(models.slow(size=900, steps=20)).session_id
    client.send_run(session_id, {"x0": np.zeros((900, 900), np.float32)})
    client.send(m.Ping(call_id=77))
    assert isinstance(client.receive()[0], m.Pong)
    assert len(client.result()) == 1


# ── uploads ──────


def test_parts_out_of_order_are_refused_and_the_offset_named(client: Any) -> None:
    model = os.urandom(3000)
    sha256 = hashlib.sha256(model).hexdigest()
    put = m.PutModel(call_id=1, sha256=sha256, offset=0, nbytes=3000)
    with pytest.raises(LocalProtocolError, match="no upload"):
        client.expect(m.ModelStored, put, [model])
    missing = client.expect(m.ModelMissing, m.OpenModel(call_id=2, sha256=sha256, nbytes=3000))
    assert missing.offset == 0
    assert not client.expect(m.ModelStored, put, [model[:1000]]).complete
    for offset, frames in ((2000, [model[2000:]]), (0, [model + b"x"]), (1000, []), (1000, [b"a", b"b"]), (1000, [b""])):
        wrong = m.PutModel(call_id=3, sha256=sha256, offset=offset, nbytes=3000)
        with pytest.raises(LocalProtocolError):
            client.expect(m.ModelStored, wrong, frames)
    resumed = client.expect(m.ModelMissing, m.OpenModel(call_id=4, sha256=sha256, nbytes=3000))
    assert resumed.offset == 1000


def test_a_corrupt_upload_is_refused_and_can_be_repeated(client: Any, models: Any) -> None:
    model = models.serialized(
        helper.make_graph(
            [helper.make_node("Identity", ["x"], ["corrupt_test"])],
            "g",
            *([helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])] for name in ("x", "corrupt_test")),
        )
    )
    sha256 = hashlib.sha256(model).hexdigest()
    request = m.OpenModel(call_id=1, sha256=sha256, nbytes=len(model))
    client.expect(m.ModelMissing, request)
    damaged = bytes([model[0] ^ 1]) + model[1:]
    with pytest.raises(LocalProtocolError, match="hash"):
        client.expect(m.ModelStored, m.PutModel(call_id=2, sha256=sha256, offset=0, nbytes=len(model)), [damaged])
    assert client.open(model).inputs[0].name == "x"


# ── memory ──────


def test_a_model_larger_than_the_slice_is_refused_before_it_is_sent(client: Any) -> None:
    with pytest.raises(OutOfSliceMemory) as caught:
        client.expect(m.SessionOpened, m.OpenModel(call_id=1, sha256="0" * 64, nbytes=1024 * MIB))
    assert caught.value.details["asked_bytes"] == 1024 * MIB
    assert caught.value.details["limit_bytes"] == 512 * MIB


@pytest.mark.parametrize("gib", [1, 4, 1024])
def test_a_call_that_needs_more_than_the_slice_is_refused_and_the_worker_lives(client: Any, models: Any, gib: int) -> None:
    session_id = client.open(models.filling()).session_id
    for _ in range(3):
        with pytest.raises(OutOfSliceMemory) as caught:
            client.run(session_id, {"shape": np.array([gib * 2**28])})
        assert caught.value.details["limit_bytes"] == 512 * MIB
    (y,) = client.run(session_id, {"shape": np.array([2**20])})
    assert y.nbytes == 4 * MIB


def test_memory_is_given_back_after_every_call(client: Any, models: Any) -> None:
    session_id = client.open(models.filling()).session_id
    for _ in range(12):
        (y,) = client.run(session_id, {"shape": np.array([25 * 2**20])})
        assert y.nbytes == 100 * MIB
        del y


def test_a_message_larger_than_the_slice_does_not_kill_the_worker(start_worker: Start, connect: Connect, models: Any) -> None:
    worker = start_worker(memory_mib=64)
    ticket = worker.admit("link")
    client, other = connect(worker, ticket), connect(worker, ticket)
    session_id = other.open(models.doubling()).session_id
    client.socket.rcvtimeo = 5_000
    client.send_run(session_id, {"x": np.zeros(250 * 2**20, np.float32)})
    try:
        answer, _ = client.receive()
    except zmq.Again:
        pass  # its connection was cut in mid-message: libzmq could not hold it
    else:
        assert isinstance(answer, m.Failed)
        assert isinstance(from_info(answer.error), OutOfSliceMemory)
    assert worker.is_running
    assert len(other.run(session_id, X)) == 1


def test_the_slice_grows_and_shrinks_but_not_below_its_use(start_worker: Start, connect: Connect, models: Any) -> None:
    worker = start_worker(memory_mib=64)
    client = connect(worker, worker.admit("link"))
    session_id = client.open(models.filling()).session_id
    shape = {"shape": np.array([200 * 2**18])}
    with pytest.raises(OutOfSliceMemory):
        client.run(session_id, {"shape": np.array([1200 * 2**18])})
    client.open(models.weighty(20))
    worker.change(memory_mib=1024, compute_pct=50)
    assert worker.wait_for(Changed).memory_mib == 1024
    assert client.run(session_id, shape)[0].nbytes == 200 * MIB
    assert client.usage().compute_pct == 50
    worker.change(memory_mib=8)
    refused = worker.wait_for(Refused)
    assert isinstance(from_info(refused.error), Conflict)
    assert client.usage().memory_limit_bytes == 1024 * MIB


def test_with_a_deadline_idle_models_make_room_and_come_back_when_called(
    start_worker: Start, connect: Connect, models: Any
) -> None:
    worker = start_worker(memory_mib=256)
    client = connect(worker, worker.admit("link"))
    heavy, light = client.open(models.weighty(100)), client.open(models.weighty(20))
    worker.change(memory_mib=64, deadline_ms=300, seq=1)
    assert worker.wait_for(Changed, matches=lambda changed: changed.seq == 1).memory_mib == 64
    usage = client.usage()
    assert usage.memory_limit_bytes == 64 * MIB
    assert usage.memory_used_bytes == light.weight_bytes
    assert len(client.run(light.session_id, {"x": np.ones(1, np.float32)})) == 1
    with pytest.raises(OutOfSliceMemory):
        client.run(heavy.session_id, {"x": np.ones(1, np.float32)})
    worker.change(memory_mib=256, seq=2)
    worker.wait_for(Changed, matches=lambda changed: changed.seq == 2)
    (y,) = client.run(heavy.session_id, {"x": np.ones(1, np.float32)})
    assert np.array_equal(y, np.full(100 * 2**18, 2, np.float32))


def test_what_runs_is_not_unloaded_and_the_shrink_is_refused_at_its_deadline(
    start_worker: Start, connect: Connect, models: Any
) -> None:
    worker = start_worker(memory_mib=256)
    ticket = worker.admit("link")
    client, other = connect(worker, ticket), connect(worker, ticket)
    session_id = client.open(models.weighty(100)).session_id
    worker.allow(grants=False)
    client.send_run(session_id, {"x": np.ones(1, np.float32)})
    worker.wait_for_want()
    worker.change(memory_mib=32, deadline_ms=100, seq=3)
    refused = worker.wait_for(Refused, matches=lambda refused: refused.seq == 3)
    assert "100.0 MiB for weights" in refused.error.message
    worker.allow(grants=True)
    assert client.result()[0].nbytes == 100 * MIB
    assert other.usage().memory_limit_bytes == 256 * MIB


def test_opening_a_model_unloads_the_one_that_idled_for_longest(start_worker: Start, connect: Connect, models: Any) -> None:
    worker = start_worker(memory_mib=128)
    client = connect(worker, worker.admit("link"))
    first, second = client.open(models.weighty(50)), client.open(models.weighty(40))
    x = {"x": np.ones(1, np.float32)}
    client.run(first.session_id, x)
    third = client.open(models.weighty(45))
    assert client.usage().memory_used_bytes == first.weight_bytes + third.weight_bytes
    for opened, mib in ((second, 40), (first, 50), (third, 45)):
        assert client.run(opened.session_id, x)[0].nbytes == mib * MIB
        assert client.usage().memory_used_bytes <= 128 * MIB
    with pytest.raises(OutOfSliceMemory):
        client.open(models.weighty(140))
    assert client.run(second.session_id, x)[0].nbytes == 40 * MIB


def test_models_that_come_and_go_leave_no_holes_that_count(start_worker: Start, connect: Connect, models: Any) -> None:
    worker = start_worker(memory_mib=128)
    client = connect(worker, worker.admit("link"))
    opened = [(mib, client.open(models.weighty(mib)).session_id) for mib in (50, 40, 45)]
    x = {"x": np.ones(1, np.float32)}
    for mib, session_id in random.Random(1).choices(opened, k=20):
        assert client.run(session_id, x)[0].nbytes == mib * MIB


def test_a_call_that_needs_room_unloads_idle_models(start_worker: Start, connect: Connect, models: Any) -> None:
    worker = start_worker(memory_mib=128)
    client = connect(worker, worker.admit("link"))
    heavy, filling = client.open(models.weighty(60)), client.open(models.filling())
    for mib in (1, 100):  # the first one is quick, and the second is expected to be
        assert client.run(filling.session_id, {"shape": np.array([mib * 2**18])})[0].nbytes == mib * MIB
    assert len(client.run(heavy.session_id, {"x": np.ones(1, np.float32)})) == 1


def test_an_unloaded_model_that_has_left_the_cache_is_asked_for_again(
    start_worker: Start, connect: Connect, models: Any, tmp_path: Path
) -> None:
    worker = start_worker(memory_mib=128, cache_dir=tmp_path / "cache")
    client = connect(worker, worker.admit("link"))
    first = client.open(models.weighty(60))
    client.open(models.weighty(70))
    for path in (tmp_path / "cache").glob("*/*.onnx"):
        path.unlink()
    with pytest.raises(ModelEvicted):
        client.run(first.session_id, {"x": np.ones(1, np.float32)})
    again = client.open(models.weighty(60))
    assert client.run(again.session_id, {"x": np.ones(1, np.float32)})[0].nbytes == 60 * MIB


# ── ends ──────


def test_a_killed_client_is_noticed_within_the_limit(start_worker: Start) -> None:
    worker = start_worker(kind="null", memory_mib=64)
    ticket = worker.admit("doomed", holder=True)
    script = (
        "import sys, zmq, time\n"
        "from gpupool_wire.codec import encode\n"
        "from gpupool_wire.messages import PROTOCOL_VERSION, Join\n"
        "s = zmq.Context().socket(zmq.DEALER); s.connect(sys.argv[1])\n"
        "s.send_multipart(encode(Join(version=PROTOCOL_VERSION, ticket=bytes.fromhex(sys.argv[2])))); s.recv_multipart()\n"
        "print('joined', flush=True); time.sleep(60)\n"
    )
    doomed = subprocess.Popen([sys.executable, "-c", script, worker.address, ticket.hex()], stdout=subprocess.PIPE)
    assert doomed.stdout is not None
    assert doomed.stdout.readline() == b"joined\n"
    doomed.kill()
    killed_at = time.monotonic()
    gone = worker.wait_for(LinkGone)
    assert time.monotonic() - killed_at < CLIENT_LOST_S
    assert (gone.link_id, gone.holder) == ("doomed", True)
    doomed.wait()
    doomed.stdout.close()


def test_a_stopped_client_is_noticed_by_its_missing_heartbeats(start_worker: Start, connect: Connect, context: Any) -> None:
    worker = start_worker(kind="null", memory_mib=64)
    client = connect(worker, worker.admit("silent"))
    # libzmq's own thread beats for a healthy client, also one that never reads: it stays for longer than the limit.
    with pytest.raises(Exception, match="said no LinkGone"):
        worker.wait_for(LinkGone, timeout_s=CLIENT_LOST_S + 1.5)
    client.close()
    worker.wait_for(LinkGone, timeout_s=CLIENT_LOST_S)


def test_clients_that_stop_reading_keep_nobody_waiting(
    start_worker: Start, connect: Connect, models: Any, eventually: Eventually
) -> None:
    worker = start_worker(memory_mib=512)
    ticket = worker.admit("deaf")
    deaf = [connect(worker, ticket) for _ in range(8)]
    session_id = deaf[0].open(models.filling()).session_id
    for client in deaf:
        client.send_run(session_id, {"shape": np.array([20 * 2**18])})  # 20 MiB that nobody takes
    other = connect(worker, worker.admit("other"))
    opened = other.open(models.doubling())
    for _ in range(200):
        assert len(other.run(opened.session_id, X)) == 1
    for client in deaf:
        client.close()
    eventually(lambda: other.usage().sessions == 1, "the deaf ones' sessions are closed")
    assert worker.is_running


def test_a_link_ends_with_its_last_channel_and_its_sessions_with_it(
    start_worker: Start, connect: Connect, models: Any, eventually: Eventually
) -> None:
    worker = start_worker(memory_mib=128)
    ticket = worker.admit("leaving")
    first, second = connect(worker, ticket), connect(worker, ticket)
    first.open(models.weighty(10))
    first.send(m.Leave())
    assert second.usage().sessions == 1
    second.send(m.Leave())
    assert worker.wait_for(LinkGone).link_id == "leaving"
    watcher = connect(worker, worker.admit("watching"))
    eventually(lambda: not watcher.usage().memory_used_bytes, "its memory is given back")
    assert watcher.usage().sessions == 0


def test_stopping_tells_every_channel_why(start_worker: Start, connect: Connect) -> None:
    worker = start_worker(kind="null", memory_mib=64)
    clients = [connect(worker, worker.admit(f"link-{i}")) for i in range(3)]
    status = worker.stop(ErrorInfo(code="lease_lost", message="the slice was released"))
    assert status == 0
    for client in clients:
        ended, _ = client.receive()
        assert isinstance(ended, m.LinkEnded)
        assert ended.error.message == "the slice was released"


def test_sigterm_ends_the_worker_in_order(start_worker: Start, connect: Connect) -> None:
    worker = start_worker(kind="cpu", memory_mib=64)
    client = connect(worker, worker.admit("link"))
    os.kill(worker.pid, signal.SIGTERM)
    ended, _ = client.receive()
    assert isinstance(ended, m.LinkEnded)
    assert worker.stop() == 0


def test_the_worker_ends_when_its_agent_is_gone(start_worker: Start, connect: Connect, eventually: Eventually) -> None:
    worker = start_worker(kind="cpu", memory_mib=64)
    client = connect(worker, worker.admit("link"))
    worker.hang_up()
    ended, _ = client.receive()
    assert isinstance(ended, m.LinkEnded)
    eventually(lambda: not worker.is_running, "the worker ends")


# ── the quantum ──────


def test_nothing_runs_without_a_grant(start_worker: Start, connect: Connect, models: Any, eventually: Eventually) -> None:
    worker = start_worker(memory_mib=128)
    client = connect(worker, worker.admit("link"))
    session_id = client.open(models.doubling()).session_id
    for warm in range(3):
        client.run(session_id, {"x": np.full(4, warm, np.float32)})
    worker.allow(False)
    eventually(lambda: not worker.holds_grant, "the grant is settled")
    beats = worker.beats
    client.send_run(session_id, X)
    client.socket.rcvtimeo = 500
    with pytest.raises(zmq.Again):
        client.receive()
    assert worker.beats > beats  # it shows that it lives while it waits
    client.socket.rcvtimeo = 10_000
    worker.allow(True)
    assert np.array_equal(client.result()[0], 2 * X["x"])
    assert client.timing.throttle_ns > 400_000_000


def test_every_grant_is_settled_and_use_is_within_it(
    start_worker: Start, connect: Connect, models: Any, eventually: Eventually
) -> None:
    worker = start_worker(memory_mib=128, quantum_ns=5_000_000)
    ticket = worker.admit("link")
    clients = [connect(worker, ticket) for _ in range(3)]
    session_id = clients[0].open(models.slow(size=256, steps=6)).session_id
    x = {"x0": np.zeros((256, 256), np.float32)}

    def call(client: Any) -> None:
        for _ in range(40):
            client.run(session_id, x)

    threads = [threading.Thread(target=call, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    eventually(lambda: not worker.holds_grant, "the grant is settled")
    assert [settle.seq for settle in worker.settled] == list(range(1, len(worker.settled) + 1))
    assert sum(settle.used_ns for settle in worker.settled) == pytest.approx(clients[0].usage().device_ns, rel=0.5)


def test_an_encrypted_worker_is_reached_with_its_key(start_worker: Start, connect: Connect, models: Any) -> None:
    worker = start_worker(kind="null", memory_mib=64, encrypt=True)
    assert worker.address.startswith("curve://")
    client = connect(worker, worker.admit("link"))
    session_id = client.open(models.doubling()).session_id
    assert np.array_equal(client.run(session_id, X)[0], np.zeros(4, np.float32))
