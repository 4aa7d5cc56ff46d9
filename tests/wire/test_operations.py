"""What is inferred of a result is what NumPy gives, for every rule; calls that do not fit are refused where they are made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpupool_wire.errors import RemoteProtocolError
from gpupool_wire.operands import Complex, DType, Held, Many, Operand, Span, Whole, from_operand, to_operand
from gpupool_wire.operations import OPERATIONS, Spec, resolve, specs_of

RANDOM = np.random.default_rng(0)
X = RANDOM.random((2, 3, 4))
M = RANDOM.random((5, 4, 4)).astype(np.float32)
V = RANDOM.random(4)
I = np.arange(12).reshape(3, 4)  # noqa: E741 - beside X, M and V
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("add", (X, V), {}),
    ("add", (I.astype(np.uint8), 3), {}),
    ("clip", (X, 0.1), {"max": 0.2}),
    ("where", (X > 0.5, X, 0), {}),
    ("astype", (X, np.dtype(np.float32)), {}),
    ("sum", (I.astype(np.int16),), {}),
    ("sum", (X,), {"axis": (0, -1), "keepdims": True}),
    ("argmax", (X,), {"axis": 1}),
    ("argmax", (X,), {"keepdims": True}),
    ("std", (X,), {"axis": 0, "correction": 1}),
    ("sort", (X,), {"axis": 0, "descending": True}),
    ("cumulative_sum", (X,), {"axis": 1, "include_initial": True}),
    ("cumulative_sum", (V,), {}),
    ("diff", (X,), {"axis": 1, "n": 2}),
    ("diff", (V,), {"prepend": V}),
    ("concat", ((X, X),), {"axis": -1}),
    ("concat", ((X, I),), {"axis": None}),
    ("stack", ((X, X, X),), {"axis": 3}),
    ("fft.fft", (X,), {"n": 7, "axis": 1}),
    ("fft.rfftn", (X,), {}),
    ("fft.fftn", (X,), {"axes": (0,)}),
    *((f"linalg.{name}", (M,), {}) for name in ("det", "inv", "eigh", "qr", "slogdet", "svd", "svdvals", "pinv", "matrix_rank")),
    ("linalg.matrix_power", (M, 3), {}),
    ("linalg.solve", (M, V.astype(np.float32)), {}),
    ("linalg.solve", (M[0], M), {}),
    ("linalg.vector_norm", (X,), {"axis": (0, 1), "ord": 1}),
    ("matmul", (V, V), {}),
    ("matmul", (X, V), {}),
    ("matmul", (V, M), {}),
    ("matmul", (M, M[0]), {}),
    ("tensordot", (X, X), {"axes": ((0, 1), (0, 1))}),
    ("vecdot", (X, V), {}),
    ("linalg.cross", (RANDOM.random((2, 3)), RANDOM.random((4, 1, 3))), {}),
    ("linalg.outer", (V, V), {}),
    ("take", (X, np.array([0, 1, 1])), {"axis": 2}),
    ("take_along_axis", (X, np.argsort(X)), {"axis": -1}),
    ("repeat", (X, 2), {"axis": 1}),
    ("tile", (X, (2, 1, 1, 3)), {}),
    ("searchsorted", (V, X), {}),
    ("reshape", (X, (6, -1)), {}),
    ("permute_dims", (X, (2, 0, 1)), {}),
    ("unstack", (X,), {"axis": 1}),
    ("meshgrid", (V, V[:3]), {"indexing": "ij"}),
    ("broadcast_arrays", (X, V), {}),
    ("squeeze", (X[:1], 0), {}),
    ("tril", (X,), {}),
    ("roll", (X, 2), {"axis": 0}),
    ("getitem", (X, (..., np.array([0, 1]))), {}),
    ("getitem", (X, (0, slice(None), np.array([0, 1]))), {}),
    ("getitem", (X, (slice(None), np.array([0, 1]), np.array([1, 2]))), {}),
    ("getitem", (X, (np.array([[0, 1]]), slice(None), 1)), {}),
    ("zeros", ((2, 3),), {}),
    ("full", (3, 2), {}),
    ("arange", (1, 2, 0.3), {}),
    ("arange", (5,), {"dtype": np.dtype(np.float32)}),
    ("linspace", (0, 1), {"num": 5, "endpoint": False}),
    ("eye", (3, 4), {"k": 1}),
    ("fft.rfftfreq", (7,), {"d": 0.5}),
]


def spec(value: Any) -> Any:
    """An argument with a Spec for each array."""
    if isinstance(value, np.ndarray):
        return Spec(value.dtype, value.shape)
    return tuple(map(spec, value)) if isinstance(value, tuple) else value


def inferred(name: str, *args: Any, **options: Any) -> list[Spec]:
    bound, named = OPERATIONS[name].signature.bind(args, options)
    return specs_of(OPERATIONS[name].infer(list(map(spec, bound)), {key: spec(value) for key, value in named.items()}))


@pytest.mark.parametrize(("name", "args", "options"), CALLS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_result_is_inferred_as_numpy_computes_it(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    bound, named = OPERATIONS[name].signature.bind(args, options)
    result = resolve(np, name)(*bound, **named)
    arrays = [np.asarray(item) for item in (result if isinstance(result, tuple | list) else [result])]
    assert inferred(name, *args, **options) == [Spec(array.dtype, array.shape) for array in arrays]


@pytest.mark.parametrize(("name", "count"), [("nonzero", 2), ("unique_all", 4), ("unique_counts", 2), ("unique_values", 1)])
def test_what_depends_on_values_has_a_dtype_and_no_shape(name: str, count: int) -> None:
    found = inferred(name, I)
    assert len(found) == count
    assert any(item.shape is None for item in found)
    assert inferred("getitem", X, X > 0.5) == [Spec(X.dtype, None)]
    with pytest.raises(ValueError, match="depends on values"):
        _ = Spec(X.dtype, None).nbytes


@pytest.mark.parametrize(
    ("error", "name", "args", "options"),
    [
        (ValueError, "add", (X, np.zeros(3)), {}),
        (TypeError, "bitwise_and", (X, 1), {}),
        (OverflowError, "add", (I.astype(np.uint8), 300), {}),
        (np.exceptions.AxisError, "sum", (X,), {"axis": 3}),
        (ValueError, "matmul", (X, X), {}),
        (IndexError, "getitem", (X, (0, 0, 0, 0)), {}),
        (IndexError, "getitem", (X, V), {}),
        (ValueError, "reshape", (X, (5, -1)), {}),
        (np.linalg.LinAlgError, "linalg.inv", (X,), {}),
        (ValueError, "concat", ((X, M),), {}),
        (TypeError, "zeros", (1.5,), {}),
        (ValueError, "setitem", (X, 0, V[:3]), {}),
        (TypeError, "setitem", (I, 0, V), {}),
        (TypeError, "sum", (X, 1), {}),
        (TypeError, "sum", (X,), {"out": X}),
        (TypeError, "add", (X,), {}),
        (TypeError, "linspace", (0, 1), {}),
        (TypeError, "reshape", (X, (24,)), {"shape": (24,)}),
    ],
)
def test_what_numpy_refuses_is_refused_without_computing(
    error: type[Exception], name: str, args: tuple[Any, ...], options: dict[str, Any]
) -> None:
    with pytest.raises(error):
        inferred(name, *args, **options)


def test_inferring_takes_no_memory_of_the_arrays_size() -> None:
    huge = Spec(np.dtype(np.float32), (1 << 20, 1 << 20))
    for name, options in (("sum", {"axis": 1}), ("permute_dims", {"axes": (1, 0)}), ("add", {}), ("matmul", {}), ("sort", {})):
        args = [huge, huge] if name in ("add", "matmul") else [huge]
        (result,) = specs_of(OPERATIONS[name].infer(args, options))
        assert result.dims in ((1 << 20, 1 << 20), (1 << 20,))


@pytest.mark.parametrize(
    "value",
    [1, 2.5, True, None, "text", 1 + 2j, 2**70, -(2**64), slice(1, None, -1), ..., (1, (2, slice(None))), np.dtype("int16")],
    ids=str,
)
def test_plain_arguments_come_back_as_they_were(value: Any) -> None:
    def nothing(_: Any) -> Operand:
        raise AssertionError("there is no array in it")

    arrived = from_operand(to_operand(value, nothing), nothing)
    assert arrived == value
    assert type(arrived) is type(value)


def test_operands_that_are_none_are_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="deeper"):
        from_operand(Many([Many([Many([Many([Many([])])])])]), lambda _: None)
    with pytest.raises(RemoteProtocolError, match="dtype"):
        from_operand(DType("object"), lambda _: None)
    assert from_operand(Many([Held(3), Span(None, 2, None), Complex(1, 2), Whole("-7")]), lambda held: held.id) == (
        3,
        slice(None, 2),
        1 + 2j,
        -7,
    )
