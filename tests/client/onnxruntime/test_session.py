"""A session on a slice answers as a local one does: same results, or the same class of error with the same text."""

from __future__ import annotations

import collections
import gc
import pathlib
import pickle
import threading
import types
import warnings
import weakref
from typing import Any

import numpy as np
import onnx
import onnxruntime as local
import pytest
from onnx import TensorProto

import gpupool.onnxruntime as ort
from gpupool_wire.errors import GpupoolError, LeaseLost, ModelRejected

F = np.float32


def told(call: Any) -> tuple[Any, ...]:
    """Return what a call gives: its result, or the class and text of its error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ("gave", call())
        except Exception as error:
            return ("raised", type(error), str(error).replace("0x", ""))


def assert_same(got: Any, wanted: Any) -> None:
    assert type(got) is type(wanted)
    if isinstance(wanted, list | tuple):
        assert len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            assert_same(one, other)
    elif isinstance(wanted, np.ndarray):
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        assert got.flags.writeable == wanted.flags.writeable
        assert got.tobytes() == wanted.tobytes() if wanted.dtype != object else got.tolist() == wanted.tolist()
    else:
        assert got == wanted


ELEMENTS = {
    "float": TensorProto.FLOAT,
    "double": TensorProto.DOUBLE,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
    "string": TensorProto.STRING,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "float8": TensorProto.FLOAT8E4M3FN,
}
FEEDS: dict[str, Any] = {
    "float32": np.ones(2, F),
    "0-d": np.array(3, F),
    "no elements": np.empty((0, 3), F),
    "transposed": np.arange(6, dtype=F).reshape(2, 3).T,
    "reversed": np.arange(3, dtype=F)[::-1],
    "read-only": np.frombuffer(np.ones(2, F).tobytes(), F),
    "masked": np.ma.array([1, 2], mask=[False, True], dtype=F),
    "float64": np.ones(2),
    "float16": np.ones(2, np.float16),
    "int32": np.ones(2, np.int32),
    "int64": np.ones(2, np.int64),
    "uint8": np.ones(2, np.uint8),
    "bool": np.ones(2, bool),
    "complex64": np.ones(2, np.complex64),
    "longdouble": np.ones(2, np.longdouble),
    "dates": np.array(["2020-01-01"], "M8[D]"),
    "structured": np.zeros(2, [("a", "f4")]),
    "texts": np.array(["a", "bé"]),
    "0-d text": np.array("a"),
    "no texts": np.array([], "U1"),
    "bytes": np.array([b"a", b"b\xc3\xa9"]),
    "bytes with NUL": np.array([b"a\0b", b"c"], "S4"),
    "bytes not UTF-8": np.array([b"a", b"\xff\xfe"]),
    "objects": np.array(["a", 1, None, 2.5, b"b"], object),
    "list of floats": [1.5, 2.0],
    "list of ints": [1, 2],
    "list of bools": [True, False],
    "list of texts": ["a", "bé"],
    "list of arrays": [np.ones(2, F), np.zeros(2, F)],
    "list of doubles": [np.ones(2)],
    "list of None": [None],
    "list of a large int": [300],
    "list of a negative int": [-1],
    "list of dicts": [{"a": 1}],
    "mixed list": [1, "a"],
    "nested list": [[1, 2], [3, 4]],
    "ragged list": [[1, 2], [3]],
    "empty list": [],
    "tuple": (1, 2),
    "tuple of arrays": (np.ones(2, F),),
    "range": range(3),
    "set": {1},
    "int": 3,
    "float": 3.0,
    "NumPy scalar": F(3),
    "text": "abc",
    "one bytes": b"abc",
    "object": object,
    "dict of texts": {"a": 1.0},
    "dict of ints": {1: 1.0},
    "empty dict": {},
}


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("element", ELEMENTS)
def test_run_takes_and_refuses_the_same_values(element: str, feed: str, unary: Any, local_slice: Any, local_session: Any) -> None:
    model = unary(ELEMENTS[element], None)
    remote = ort.InferenceSession(model, gpupool_slice=local_slice)
    value = FEEDS[feed]
    wanted = told(lambda: local_session(model).run(None, {"x": value}))
    assert_same(told(lambda: remote.run(None, {"x": value})), wanted)


SEQUENCES: dict[str, Any] = {
    "arrays": [np.ones(2, F), np.ones((1, 2), F)],
    "nothing": [],
    "floats": [1.0],
    "lists": [[1.0], [2.0]],
    "doubles": [np.ones(2)],
    "two types": [np.ones(2, F), np.ones(2)],
    "tuple": (np.ones(2, F),),
    "array": np.ones(2, F),
    "Nones": [None],
    "None": None,
}


@pytest.mark.parametrize("feed", SEQUENCES)
def test_sequences(feed: str, sequence_model: Any, local_slice: Any, local_session: Any) -> None:
    model, value = sequence_model(), SEQUENCES[feed]
    remote = ort.InferenceSession(model, gpupool_slice=local_slice)
    assert_same(told(lambda: remote.run(None, {"x": value})), told(lambda: local_session(model).run(None, {"x": value})))


def test_sequences_of_texts(sequence_model: Any, local_slice: Any, local_session: Any) -> None:
    model = sequence_model(TensorProto.STRING)
    value = [np.array(["a", "b"]), np.array("c", object)]
    remote = ort.InferenceSession(model, gpupool_slice=local_slice)
    assert_same(remote.run(None, {"x": value}), local_session(model).run(None, {"x": value}))


@pytest.mark.parametrize("feed", [{"x": None}, {}, {"x": np.ones(2, F)}, {"x": [1.0, 2.0]}], ids=str)
def test_optional_inputs(feed: Any, optional_model: bytes, local_slice: Any, local_session: Any) -> None:
    remote = ort.InferenceSession(optional_model, gpupool_slice=local_slice)
    assert_same(remote.run(None, feed), local_session(optional_model).run(None, feed))


MAPS = [{"a": 1.0, "b": 2.0}, {"a": 1}, {"a": F(1)}, {}, {1: 1.0}, {"a": "b"}, {"a": None}]


@pytest.mark.parametrize("value", MAPS, ids=str)
def test_maps(value: Any, map_model: bytes, local_slice: Any, local_session: Any) -> None:
    remote = ort.InferenceSession(map_model, gpupool_slice=local_slice)
    assert_same(told(lambda: remote.run(None, {"x": value})), told(lambda: local_session(map_model).run(None, {"x": value})))


def test_lists_of_maps_come_back(zip_model: bytes, local_slice: Any, local_session: Any) -> None:
    feed = {"x": np.array([[0.25, 0.75], [1, 0]], F)}
    remote = ort.InferenceSession(zip_model, gpupool_slice=local_slice)
    assert remote.run(None, feed) == local_session(zip_model).run(None, feed)


CALLS: dict[str, tuple[Any, Any]] = {
    "None": (None, {"x": np.ones(2, F)}),
    "no names": ([], {"x": np.ones(2, F)}),
    "a name": (["y"], {"x": np.ones(2, F)}),
    "a name twice": (["y", "y"], {"x": np.ones(2, F)}),
    "names in a tuple": (("y",), {"x": np.ones(2, F)}),
    "names in a set": ({"y"}, {"x": np.ones(2, F)}),
    "an unknown output": (["q"], {"x": np.ones(2, F)}),
    "an empty output": ([""], {"x": np.ones(2, F)}),
    "another rank": (None, {"x": np.ones((2, 2), F)}),
    "another input": (None, {"z": np.ones(2, F)}),
    "no input": (None, {}),
    "one input more": (None, {"x": np.ones(2, F), "z": np.ones(2, F)}),
    "a feed in a list": (None, [np.ones(2, F)]),
    "no feed": (None, None),
    "another mapping": (None, types.MappingProxyType({"x": np.ones(2, F)})),
    "an ordered feed": (None, collections.OrderedDict({"x": np.ones(2, F)})),
}


@pytest.mark.parametrize("call", CALLS)
def test_run_checks_names_as_locally(call: str, unary: Any, local_slice: Any, local_session: Any) -> None:
    names, feed = CALLS[call]
    remote = ort.InferenceSession(unary(), gpupool_slice=local_slice)
    assert_same(told(lambda: remote.run(names, feed)), told(lambda: local_session(unary()).run(names, feed)))


@pytest.mark.parametrize(("names", "feed"), [("y", {"x": np.ones(2, F)}), ([1], {"x": np.ones(2, F)}), (None, {"x": 1, 1: 1})])
def test_run_refuses_names_that_are_no_texts(names: Any, feed: Any, unary: Any, local_slice: Any, local_session: Any) -> None:
    remote = ort.InferenceSession(unary(TensorProto.INT64, None), gpupool_slice=local_slice)
    for session in (remote, local_session(unary())):
        with pytest.raises((TypeError, RuntimeError), match=r"incompatible function arguments|Unable to handle object"):
            session.run(names, feed)


def test_run_options_travel_and_terminate_ends_the_call(unary: Any, local_slice: Any, local_session: Any) -> None:
    remote = ort.InferenceSession(unary(), gpupool_slice=local_slice)
    options = ort.RunOptions()
    options.log_severity_level = 3
    options.logid = "mine"
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    remote.run(None, {"x": np.ones(2, F)}, options)
    assert local_slice.models[0].run_configs == [
        {"memory.enable_memory_arena_shrinkage": "cpu:0", "log_severity_level": "3", "logid": "mine"}
    ]
    options = ort.RunOptions()
    options.terminate = True
    feed = {"x": np.ones(2, F)}
    assert_same(told(lambda: remote.run(None, feed, options)), told(lambda: local_session(unary()).run(None, feed, options)))
    with pytest.raises(TypeError, match=r"run_options must be onnxruntime.RunOptions, not str 'fast'"):
        remote.run(None, feed, "fast")


def test_a_loaded_adapter_is_refused_by_name(unary: Any, local_slice: Any) -> None:
    options = ort.RunOptions()
    options.add_active_adapter(local.LoraAdapter())
    remote = ort.InferenceSession(unary(), gpupool_slice=local_slice)
    with pytest.raises(RuntimeError, match=r"RunOptions\.add_active_adapter cannot work on a remote slice"):
        remote.run(None, {"x": np.ones(2, F)}, options)


# ── opening ──────


def rejected(unary: Any) -> dict[str, bytes]:
    return {
        "empty": b"",
        "no protobuf": b"junkjunk",
        "no such operator": unary(op="Nope"),
        "no such domain": unary(op="Foo", domain="my.domain"),
        "future IR": unary(ir=99),
        "wrong type": unary(TensorProto.STRING, op="Relu"),
        "no kernel": unary(TensorProto.INT16, op="Relu"),
    }


KINDS_OF_REJECTED = ["empty", "no protobuf", "no such operator", "no such domain", "future IR", "wrong type", "no kernel"]


@pytest.mark.parametrize("kind", KINDS_OF_REJECTED)
def test_bytes_that_are_no_model_are_refused_as_locally(kind: str, unary: Any, local_slice: Any, local_session: Any) -> None:
    model = rejected(unary)[kind]
    wanted = told(lambda: local_session(model))
    assert wanted[0] == "raised"
    assert told(lambda: ort.InferenceSession(model, gpupool_slice=local_slice)) == wanted


@pytest.mark.parametrize("kind", KINDS_OF_REJECTED)
@pytest.mark.parametrize("spelling", [str, pathlib.Path])
def test_files_that_are_no_model_are_refused_as_locally(
    kind: str, spelling: Any, unary: Any, local_slice: Any, local_session: Any, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(rejected(unary)[kind])
    wanted = told(lambda: local_session(spelling(path)))
    assert wanted[0] == "raised"
    assert told(lambda: ort.InferenceSession(spelling(path), gpupool_slice=local_slice)) == wanted


@pytest.mark.parametrize("name", ["missing.onnx", "."])
def test_paths_without_a_file_are_refused_as_locally(
    name: str, local_slice: Any, local_session: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told(lambda: ort.InferenceSession(name, gpupool_slice=local_slice)) == told(lambda: local_session(name))


@pytest.mark.parametrize("given", [5, None, bytearray(b"x"), memoryview(b"x")], ids=lambda given: type(given).__name__)
def test_other_objects_are_no_model(given: Any, local_slice: Any, local_session: Any) -> None:
    assert told(lambda: ort.InferenceSession(given, gpupool_slice=local_slice)) == told(lambda: local_session(given))


def test_an_empty_path_and_wrong_options_are_type_errors(unary: Any, local_slice: Any, local_session: Any) -> None:
    for session in (local_session, lambda *a: ort.InferenceSession(*a, gpupool_slice=local_slice)):
        for arguments in (("",), (unary(), "fast")):
            with pytest.raises(TypeError, match="incompatible constructor arguments"):
                session(*arguments)


@pytest.mark.parametrize("spelling", [str, pathlib.Path])
def test_a_session_opens_from_a_file(spelling: Any, unary: Any, local_slice: Any, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(unary())
    session = ort.InferenceSession(spelling(path), gpupool_slice=local_slice)
    assert session.run(None, {"x": np.ones(1, F)})[0].tolist() == [1.0]
    assert session._model_path == str(path)
    assert repr(session) == f"<InferenceSession of {path} on a slice: CPUExecutionProvider>"


def test_weights_in_other_files_travel_in_the_model(local_slice: Any, local_session: Any, tmp_path: pathlib.Path) -> None:
    weights = onnx.numpy_helper.from_array(np.arange(400, dtype=F), "w")
    ends = [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, [400]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "w"], ["y"])], "split", ends[:1], ends[1:], [weights])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)
    path = tmp_path / "split.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    local_slice.refuses_external_data = True
    remote = ort.InferenceSession(path, gpupool_slice=local_slice)
    feed = {"x": np.ones(400, F)}
    assert_same(remote.run(None, feed), local_session(path).run(None, feed))
    with pytest.raises(ModelRejected, match="weights in other files"):
        ort.InferenceSession(path.read_bytes(), gpupool_slice=local_slice)


def test_arguments_by_position_and_by_keyword(unary: Any, local_slice: Any) -> None:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 3
    first = ort.InferenceSession(unary(), options, ["CPUExecutionProvider"], [{}], gpupool_slice=local_slice)
    second = ort.InferenceSession(
        path_or_bytes=unary(),
        sess_options=options,
        providers=[("CPUExecutionProvider", {"use_arena": 1})],
        gpupool_slice=local_slice,
    )
    assert [asked.intra_op_num_threads for asked in local_slice.options] == [3, 3]
    assert first.get_provider_options() == {"CPUExecutionProvider": {}}
    assert second.get_provider_options() == {"CPUExecutionProvider": {"use_arena": "1"}}
    assert first.get_session_options() is options


PROVIDERS: dict[str, dict[str, Any]] = {
    "none": {},
    "empty": {"providers": []},
    "cpu": {"providers": ["CPUExecutionProvider"]},
    "twice": {"providers": ["CPUExecutionProvider", "CPUExecutionProvider"]},
    "not offered": {"providers": ["CUDAExecutionProvider", "CPUExecutionProvider"]},
    "unknown": {"providers": ["Foo"]},
    "unknown, no fallback": {"providers": ["Foo"], "enable_fallback": 0},
    "of another length": {"providers": ["CPUExecutionProvider"], "provider_options": []},
    "of another length, no fallback": {"providers": ["CPUExecutionProvider"], "provider_options": [], "enable_fallback": 0},
    "no sequence": {"providers": 5, "enable_fallback": 0},
    "no texts": {"providers": [5], "enable_fallback": 0},
    "options no sequence": {"providers": ["CPUExecutionProvider"], "provider_options": 5, "enable_fallback": 0},
    "options no dicts": {"providers": ["CPUExecutionProvider"], "provider_options": [5], "enable_fallback": 0},
    "pairs and options": {"providers": [("CPUExecutionProvider", {})], "provider_options": [{}], "enable_fallback": 0},
}


@pytest.mark.parametrize("given", PROVIDERS)
def test_providers_are_checked_as_locally(given: str, unary: Any, local_slice: Any, local_session: Any, capsys: Any) -> None:
    def of_remote() -> Any:
        return ort.InferenceSession(unary(), gpupool_slice=local_slice, **PROVIDERS[given]).get_providers()

    assert_same(told(of_remote), told(lambda: local_session(unary(), **PROVIDERS[given]).get_providers()))
    printed = capsys.readouterr().out
    assert printed[: len(printed) // 2] == printed[len(printed) // 2 :]


def test_providers_a_slice_does_not_offer_are_warned_of(unary: Any, local_slice: Any) -> None:
    with pytest.warns(UserWarning, match="Specified provider 'CUDAExecutionProvider' is not in available provider names"):
        ort.InferenceSession(unary(), providers=["CUDAExecutionProvider"], gpupool_slice=local_slice)


def test_naming_only_the_cpu_gets_the_device_of_the_slice(unary: Any, local_slice: Any) -> None:
    local_slice.providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    ort.InferenceSession(unary(), providers=["CPUExecutionProvider"], gpupool_slice=local_slice)
    ort.InferenceSession(unary(), providers=["CUDAExecutionProvider", "CPUExecutionProvider"], gpupool_slice=local_slice)
    assert [asked.providers for asked in local_slice.options] == [[], ["CUDAExecutionProvider", "CPUExecutionProvider"]]


def test_set_providers_opens_again_and_keeps_the_session_where_that_fails(unary: Any, local_slice: Any) -> None:
    session = ort.InferenceSession(unary(), gpupool_slice=local_slice)
    session.set_providers(["CPUExecutionProvider"])
    assert [model.is_closed for model in local_slice.models] == [True, False]
    with pytest.raises(RuntimeError, match="Unknown Provider Type: Foo"), pytest.warns(UserWarning, match="Foo"):
        session.set_providers(["Foo"])
    assert session.run(None, {"x": np.ones(1, F)})[0].tolist() == [1.0]


def test_what_the_pool_says_is_not_taken_for_a_provider_failing(unary: Any, local_slice: Any, capsys: Any) -> None:
    class Gone(type(local_slice)):  # type: ignore[misc]
        def open_model(self, model: Any, options: Any = None, *, batching: bool | None = None) -> Any:
            raise LeaseLost("the slice was released")

    with pytest.raises(LeaseLost):
        ort.InferenceSession(unary(), gpupool_slice=Gone())
    assert capsys.readouterr().out == ""


# ── what it says ──────


def test_metadata_is_answered_without_the_worker(unary: Any, local_slice: Any, local_session: Any) -> None:
    model = unary(TensorProto.FLOAT, [None, "N", 3])
    remote, wanted = ort.InferenceSession(model, gpupool_slice=local_slice), local_session(model)
    for name in ("get_inputs", "get_outputs", "get_overridable_initializers"):
        nodes = [(node.name, node.type, node.shape, str(node)) for node in getattr(remote, name)()]
        assert nodes == [(node.name, node.type, node.shape, str(node)) for node in getattr(wanted, name)()]
    for name in type(wanted.get_modelmeta()).__dict__:
        if not name.startswith("_"):
            assert getattr(remote.get_modelmeta(), name) == getattr(wanted.get_modelmeta(), name)
    assert remote.get_providers() == ["CPUExecutionProvider"]
    assert [info.name for info in remote.get_input_memory_infos()] == ["Cpu"]
    assert [info.name for info in remote.get_output_memory_infos()] == ["Cpu"]
    for name in ("end_profiling", "get_profiling_start_time_ns", "get_tuning_results", "release_captured_graph"):
        assert getattr(remote, name)() == getattr(wanted, name)()


def test_isinstance_checks_of_programs_hold(unary: Any, local_slice: Any) -> None:
    session = ort.InferenceSession(unary(), gpupool_slice=local_slice)
    assert isinstance(session, ort.InferenceSession)
    assert isinstance(session.get_inputs()[0], local.NodeArg)
    assert isinstance(session.get_modelmeta(), local.ModelMetadata)
    assert isinstance(session.get_session_options(), local.SessionOptions)
    assert ort.SessionOptions is local.SessionOptions


def test_every_public_method_of_the_local_class_is_there(local_session: Any) -> None:
    public = {name for name in dir(local_session) if not name.startswith("_")}
    assert public <= set(dir(ort.InferenceSession))


REFUSED: dict[str, tuple[Any, ...]] = {
    "set_tuning_results": ([],),
    "set_ep_dynamic_options": ({},),
    "get_input_epdevices": (),
    "get_provider_graph_assignment_info": (),
    "run_with_ortvaluevector": (None, [], [], [], [], []),
    "create_ortvalue_from_shape_and_type": ([1], F, "cuda"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_remotely_says_so_by_name(name: str, unary: Any, local_slice: Any) -> None:
    session = ort.InferenceSession(unary(), gpupool_slice=local_slice)
    with pytest.raises(RuntimeError, match=f"InferenceSession.{name}.* cannot work on a remote slice") as caught:
        getattr(session, name)(*REFUSED[name])
    assert isinstance(caught.value, GpupoolError)


@pytest.mark.parametrize("keyword", [{"disabled_optimizers": ["ConstantFolding"]}, {"read_config_from_model": 1}])
def test_keywords_that_cannot_work_say_so_by_name(keyword: dict[str, Any], unary: Any, local_slice: Any) -> None:
    with pytest.raises(RuntimeError, match=f"{next(iter(keyword))}.* cannot work on a remote slice"):
        ort.InferenceSession(unary(), gpupool_slice=local_slice, **keyword)


def test_a_session_cannot_be_pickled_but_a_subclass_may_know_how(unary: Any, local_slice: Any) -> None:
    session = ort.InferenceSession(unary(), gpupool_slice=local_slice)
    with pytest.raises(TypeError, match="cannot pickle 'InferenceSession' object"):
        pickle.dumps(session)


def test_the_model_goes_with_the_session(unary: Any, local_slice: Any) -> None:
    session = ort.InferenceSession(unary(), gpupool_slice=local_slice)
    model = weakref.ref(local_slice.models.pop())
    del session
    gc.collect()
    assert model() is None


# ── other ways to run ──────


def heard(session: Any, names: Any, feed: Any) -> tuple[Any, ...]:
    done = threading.Event()
    calls: list[tuple[Any, ...]] = []

    def callback(results: Any, user_data: Any, error: str) -> None:
        calls.append((results, user_data, error))
        done.set()

    session.run_async(names, feed, callback, "mine")
    assert done.wait(20)
    return calls[0]


@pytest.mark.parametrize("feed", [np.ones(2, F), np.ones((2, 2), F)], ids=["good", "of another rank"])
def test_run_async_calls_back_with_results_or_the_text(feed: Any, unary: Any, local_slice: Any, local_session: Any) -> None:
    remote = ort.InferenceSession(unary(), gpupool_slice=local_slice)
    assert_same(heard(remote, None, {"x": feed}), heard(local_session(unary()), None, {"x": feed}))


def test_run_async_reports_a_callback_that_raises(unary: Any, local_slice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    told_of = threading.Event()

    def hook(args: Any) -> None:
        seen.append(args)
        told_of.set()

    monkeypatch.setattr("sys.unraisablehook", hook)

    def callback(results: Any, user_data: Any, error: str) -> None:
        raise ValueError("in the callback")

    ort.InferenceSession(unary(), gpupool_slice=local_slice).run_async(None, {"x": np.ones(2, F)}, callback, None)
    assert told_of.wait(20)
    assert str(seen[0].exc_value) == "in the callback"


def test_run_async_checks_at_once(unary: Any, local_slice: Any) -> None:
    with pytest.raises(ValueError, match="Required inputs"):
        ort.InferenceSession(unary(), gpupool_slice=local_slice).run_async(None, {}, print, None)


def test_ort_values_in_and_out(unary: Any, local_slice: Any) -> None:
    session = ort.InferenceSession(unary(), gpupool_slice=local_slice)
    value = ort.OrtValue.ortvalue_from_numpy(np.arange(3, dtype=F))
    (result,) = session.run_with_ort_values(None, {"x": value})
    assert isinstance(result, local.OrtValue)
    assert result.numpy().tolist() == [0, 1, 2]
    assert session.run(None, {"x": value})[0].tolist() == [0, 1, 2]
    assert session.create_ortvalue_from_shape_and_type([2], F, "cpu").shape() == [2]
