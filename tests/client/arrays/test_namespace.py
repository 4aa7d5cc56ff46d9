"""slice.xp against NumPy: the same functions, the same results, on arrays that are elsewhere."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from gpupool.arrays import Namespace, RemoteArray
from gpupool.arrays.functions import StepFunction
from gpupool_wire.errors import ExecutionFailed, OutOfSliceMemory, UsageError
from gpupool_wire.operations import OPERATIONS

from .conftest import LocalSlice

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
UNARY = ["abs", "negative", "square", "exp", "isfinite", "sign", "floor", "positive", "logical_not"]
BINARY = ["add", "subtract", "multiply", "maximum", "less", "equal", "hypot", "logical_and", "copysign", "not_equal"]
REDUCTIONS = ["sum", "max", "min", "mean", "argmax", "all", "any", "prod", "count_nonzero", "std"]
VIEWS: list[tuple[str, dict[str, Any]]] = [("flip", {}), ("expand_dims", {"axis": 0}), ("reshape", {"shape": (-1,)})]


def same(remote: Any, local: Any) -> None:
    """Assert that two results agree to the bit, in what is said of them as well as in what they hold."""
    assert isinstance(remote, RemoteArray)
    local = np.asarray(local)
    assert (remote.dtype, remote.shape) == (local.dtype, local.shape)
    fetched = np.asarray(remote)
    assert (fetched.dtype, fetched.shape) == (local.dtype, local.shape)
    assert np.array_equal(fetched, local, equal_nan=local.dtype.kind in "fc")


arrays = npst.arrays(
    dtype=st.sampled_from([np.bool_, np.int8, np.uint16, np.int64, np.float32, np.float64]),
    shape=npst.array_shapes(min_dims=0, max_dims=3, max_side=4),
    elements={"min_value": 0, "max_value": 100} | {"allow_nan": False, "allow_subnormal": False},
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("unary"), st.sampled_from(UNARY)),
        st.tuples(st.just("binary"), st.sampled_from(BINARY)),
        st.tuples(st.just("scalar"), st.sampled_from(BINARY)),
        st.tuples(st.just("reduce"), st.sampled_from(REDUCTIONS)),
        st.tuples(st.just("view"), st.sampled_from(VIEWS)),
        st.tuples(st.just("first"), st.just("")),
        st.tuples(st.just("write"), st.just("")),
    ),
    max_size=12,
)


def run_program(xp: Any, x: Any, program: list[Any]) -> Any:
    """Run a program in a namespace; an exception's class is a result, too."""
    history = [x]
    for kind, what in program:
        try:
            match kind:
                case "unary":
                    x = getattr(xp, what)(x)
                case "binary":
                    x = getattr(xp, what)(x, history[len(history) // 2])
                case "scalar":
                    x = getattr(xp, what)(x, 2)
                case "reduce":
                    x = xp.asarray(getattr(xp, what)(x, axis=-1))
                case "view":
                    x = getattr(xp, what[0])(x, **what[1])
                case "first":
                    x = xp.asarray(x[0])
                case "write":
                    x = xp.asarray(x, copy=True)
                    x[...] = 1
        except (TypeError, ValueError, IndexError) as error:
            return error
        history.append(x)
    return x


def _read_error(array: RemoteArray) -> Exception:
    try:
        np.asarray(array)
    except ExecutionFailed as error:
        return error
    return AssertionError(f"{array!r} could be read")


@given(array=arrays, program=steps)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_programs_give_what_numpy_gives(array: Any, program: list[Any]) -> None:
    with np.errstate(all="ignore"):
        local = run_program(np, array, program)
    xp = Namespace(LocalSlice())
    remote = run_program(xp, xp.asarray(array), program)
    if isinstance(local, Exception):  # known here at once, or found out on the device when the value is read
        with pytest.raises((type(local), ExecutionFailed)):
            raise remote if isinstance(remote, Exception) else _read_error(remote)
    else:
        same(remote, local)


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"asarray", "copied", "getitem", "setitem"}))
def test_every_operation_has_the_signature_that_the_table_says(xp: Any, name: str) -> None:
    space, _, short = name.rpartition(".")
    function = getattr(getattr(xp, space) if space else xp, short)
    assert function.__name__ == short
    parameters = [parameter.name for parameter in inspect.signature(function).parameters.values() if parameter.name != "device"]
    assert all(parameter in OPERATIONS[name].signature.text for parameter in parameters)
    assert short in dir(getattr(xp, space) if space else xp)


def test_a_name_that_is_no_operation_is_an_attribute_error(xp: Any) -> None:
    with pytest.raises(AttributeError, match="array API standard"):
        xp.getitem  # noqa: B018
    with pytest.raises(AttributeError):
        xp.linalg.eval  # noqa: B018


def test_several_results_come_as_numpy_names_them(xp: Any) -> None:
    q, r = xp.linalg.qr(xp.asarray(X[0]))
    same(q @ r, np.asarray(q) @ np.asarray(r))
    result = xp.unique_all(xp.asarray([3, 1, 3]))
    assert result._fields == ("values", "indices", "inverse_indices", "counts")
    assert result.counts.shape == (2,)
    assert [part.shape for part in xp.broadcast_arrays(xp.zeros((2, 1)), xp.zeros(3))] == [(2, 3), (2, 3)]


@pytest.mark.parametrize(
    "key",
    [
        0,
        (1, slice(None), -1),
        (..., slice(None, None, -2)),
        (None, 1),
        np.array([1, 0, 1]),
        (slice(None), np.array([[0, 2]]), np.array([[1], [2]])),
        (0, slice(None), np.array([1, 2])),
        X > 5,
        (X > 5)[:, :, 0],
        [0, 1],
    ],
    ids=str,
)
def test_items_are_what_numpy_gives(xp: Any, key: Any) -> None:
    same(xp.asarray(X)[key], X[key])


def test_arrays_of_the_slice_index_each_other(xp: Any) -> None:
    x = xp.asarray(X)
    same(x[x > 7], X[X > 7])
    same(x[xp.argmax(xp.asarray([0, 1]))], X[1])


def test_writing_changes_the_array_and_no_other(xp: Any) -> None:
    x = xp.asarray(X)
    row, before = x[0], x + 0
    x[:, 1:] = xp.asarray(np.float32(7))
    expected = X.copy()
    expected[:, 1:] = 7
    same(x, expected)
    same(row, X[0])
    same(before, X)
    with pytest.raises(ValueError, match="broadcast"):
        x[0] = np.zeros(5, np.float32)


def test_operators_take_numbers_and_arrays_of_this_host(xp: Any) -> None:
    x = xp.asarray(X)
    same(2 ** (1 - x), 2 ** (1 - X))
    same(x * X, X * X)
    same(X * x, X * X)
    same(x @ np.ones((4, 2), np.float32), X @ np.ones((4, 2), np.float32))
    x += 1
    same(x, X + 1)
    with pytest.raises(TypeError, match="cannot be stored"):
        x += 1j
    with pytest.raises(TypeError):
        x + "text"


def test_numpy_functions_work_on_arrays_of_the_slice(xp: Any) -> None:
    x = xp.asarray(X)
    same(np.add(x, 1), X + 1)
    same(np.sum(x, axis=1), X.sum(axis=1))
    same(np.add.reduce(x), X.sum(axis=0))
    same(np.concatenate([x, x], axis=1), np.concatenate([X, X], axis=1))
    same(np.where(x > 3, x, 0), np.where(X > 3, X, np.float32(0)))
    same(np.transpose(x, (2, 0, 1)), np.transpose(X, (2, 0, 1)))
    assert np.shape(x) == X.shape
    here = np.zeros(X.shape, np.float32)
    here += x
    assert np.array_equal(here, X)


@pytest.mark.parametrize("call", [np.median, np.allclose, lambda x: np.sum(x, where=x > 1), lambda x: np.add.accumulate(x)])
def test_what_numpy_has_beyond_the_standard_is_refused_with_a_way_out(xp: Any, call: Any) -> None:
    with pytest.raises(TypeError, match=r"numpy\.asarray|required positional|missing"):
        call(xp.asarray(X))


def test_numbers_are_read_from_arrays_without_axes_only(xp: Any) -> None:
    one = xp.asarray(3.5)
    assert (float(one), int(one), bool(one), complex(one), one.item()) == (3.5, 3, True, 3.5, 3.5)
    assert [1, 2, 3][xp.asarray(1)] == 2
    with pytest.raises(TypeError, match="without axes"):
        float(xp.asarray([1.0, 2.0]))
    with pytest.raises(TypeError, match="an index is an integer"):
        [1][one]


def test_its_repr_transfers_nothing_and_its_str_only_what_is_small(xp: Any, home: LocalSlice) -> None:
    x = xp.zeros((1000, 1000))
    assert repr(x) == "<RemoteArray float64[1000, 1000] on slice-1 (cpu0)>"
    assert str(x) == repr(x)
    assert home.current.fetched == 0
    assert str(xp.asarray([1, 2])) == "[1 2]"


def test_an_array_is_not_pickled_but_copied(xp: Any) -> None:
    x = xp.asarray(X)
    with pytest.raises(UsageError, match="cannot be pickled"):
        pickle.dumps(x)
    for thing in (xp, xp.linalg, StepFunction(xp._caller, lambda x: x)):
        with pytest.raises(UsageError, match="cannot be pickled: it belongs to this process"):
            pickle.dumps(thing)
    copied = copy.deepcopy(x)
    copied[0] = 0
    same(x, X)
    with pytest.raises(TypeError):
        hash(x)


def test_dlpack_goes_through_this_host(xp: Any) -> None:
    same(xp.from_dlpack(X), X)
    assert np.array_equal(np.from_dlpack(xp.asarray(X)), X)


@pytest.mark.parametrize("value", ["text", np.array(["a"]), np.array([object()]), np.array(["2020"], "datetime64[D]")])
def test_a_dtype_no_device_has_is_refused_by_name(xp: Any, value: Any) -> None:
    with pytest.raises(UsageError, match="no device has arrays of dtype"):
        xp.asarray(value)


@pytest.mark.parametrize("dtype", ["datetime64[s]", "U3", object, np.longdouble, "V4"])
def test_such_a_dtype_is_refused_wherever_it_is_named(xp: Any, dtype: Any) -> None:
    with pytest.raises(UsageError, match="no device has arrays of dtype"):
        xp.zeros(2, dtype=dtype)
    with pytest.raises(UsageError, match="no device has arrays of dtype"):
        xp.astype(xp.zeros(2), dtype)
    assert xp.zeros(2, dtype="float32").dtype == np.float32


def test_an_upload_the_slice_could_not_hold_is_refused_before_it_travels(xp: Any, home: LocalSlice) -> None:
    with pytest.raises(OutOfSliceMemory, match="what is sent takes"):
        xp.asarray(np.zeros(65 * 2**20, np.uint8))
    assert home.current.questions == 0


def test_numbers_are_formatted(xp: Any) -> None:
    assert f"{xp.asarray(2.345):.1f} {xp.asarray([1, 2])}" == "2.3 [1 2]"


def test_another_device_or_version_of_the_standard_is_refused(xp: Any) -> None:
    assert xp.zeros(2, device="cpu0").device == "cpu0"
    with pytest.raises(ValueError, match="is not this slice's"):
        xp.zeros(2, device="cuda7")
    x = xp.zeros(2)
    assert x.__array_namespace__(api_version="2024.12") is xp
    with pytest.raises(ValueError, match=r"2024\.12"):
        x.__array_namespace__(api_version="2099.12")


def test_large_uploads_are_the_programs_to_change_at_once(xp: Any) -> None:
    large = np.zeros(1_000_000)
    x = xp.asarray(large)
    large[:] = 1
    assert float(xp.sum(x)) == 0


def test_info_says_what_the_namespace_can_do(xp: Any) -> None:
    info = xp.__array_namespace_info__()
    assert info.devices() == [info.default_device()] == ["cpu0"]
    assert info.dtypes(kind="bool") == {"bool": np.dtype("bool")}
    assert xp.result_type(xp.zeros(1, dtype=xp.float32), 1.0) == np.float32
    assert not xp.can_cast(xp.zeros(1), xp.int8)
