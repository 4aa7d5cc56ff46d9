"""InferenceSession on a slice: the surface of ONNX Runtime's class, executed by the slice's worker.

    run(names, feed) ──check──> values.to_wire ──RemoteModel.run──> arrays

What ONNX Runtime checks before it executes is checked here, with its texts; what it finds out later comes from the worker.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

from gpupool.onnxruntime import opening
from gpupool.onnxruntime.background import submit
from gpupool.onnxruntime.errors import limit, status_text, translated
from gpupool.onnxruntime.io_binding import IOBinding
from gpupool.onnxruntime.opened import OpenedModel
from gpupool.onnxruntime.options import run_config
from gpupool.onnxruntime.providers import ProviderOptions, Providers
from gpupool.onnxruntime.values import from_ort_value, to_wire
from gpupool.onnxruntime.wheel import runtime
from gpupool.protocols import SliceLike
from gpupool_wire.errors import GpupoolError

#: What a caller of run_async is told with: the results, its own data, and a text that is empty where all went well.
Callback = Callable[[list[Any], Any, str], object]
_ARGUMENTS = "run(): incompatible function arguments."


class InferenceSession(OpenedModel):
    """A model opened on a slice. Takes what onnxruntime.InferenceSession takes.

    `gpupool_slice` binds it to a slice; without it, the process's own is used (GPUPOOL_SLICE, else one asked for at first use).
    Outputs named in `gpupool_lazy` stay on the device until they are looked at (see gpupool.arrays.lazy). Inputs may be arrays of
    the slice, which do not travel. `gpupool_batching` False keeps calls from being executed as one with others (docs/calls.md).
    Raises ONNX Runtime's own exceptions, and GpupoolError for what the pool says (LeaseLost, PoolUnreachable, ...).
    """

    def __init__(
        self,
        path_or_bytes: str | bytes | os.PathLike[str],
        sess_options: Any = None,  # noqa: ANN401 - the wheel's SessionOptions or the stand-in's
        providers: Providers = None,
        provider_options: ProviderOptions = None,
        *,
        gpupool_slice: SliceLike | None = None,
        gpupool_lazy: Sequence[str] = (),
        gpupool_batching: bool | None = None,
        **kwargs: Any,  # noqa: ANN401 - ONNX Runtime ignores keywords it does not know
    ) -> None:
        super().__init__(
            path_or_bytes, sess_options, providers, provider_options, gpupool_slice, kwargs, gpupool_lazy, gpupool_batching
        )

    # ── running ──────

    def run(self, output_names: Iterable[str] | None, input_feed: Mapping[str, Any], run_options: Any = None) -> list[Any]:  # noqa: ANN401
        """Return the outputs of these names (all for None or an empty list)."""
        self._validate_input(list(input_feed.keys()))
        return self._execute(self._names(output_names), self._feed(input_feed), run_options)

    def run_async(
        self,
        output_names: Iterable[str] | None,
        input_feed: Mapping[str, Any],
        callback: Callback,
        user_data: Any,  # noqa: ANN401 - the caller's own
        run_options: Any = None,  # noqa: ANN401 - the wheel's RunOptions or the stand-in's
    ) -> None:
        """Run in the background and call `callback(results, user_data, error)`, where error is "" or the text of the failure."""
        self._validate_input(list(input_feed.keys()))
        names, feed = self._names(output_names), self._feed(input_feed)

        def work() -> None:
            try:
                results, error = self._execute(names, feed, run_options), ""
            except Exception as failure:  # noqa: BLE001 - whatever it is, the caller hears of it through the callback alone
                results, error = [], status_text(failure) or repr(failure)
            try:
                callback(results, user_data, error)
            except Exception:  # noqa: BLE001 - nobody waits for this thread: report as Python reports such errors
                _report_callback()

        submit(work)

    def submit(
        self,
        output_names: Iterable[str] | None,
        input_feed: Mapping[str, Any],
        run_options: Any = None,  # noqa: ANN401 - the wheel's RunOptions or the stand-in's
    ) -> Future[list[Any]]:
        """As `run`, but return a future at once: several calls of a session are in flight together. Not ONNX Runtime's surface.

        What `run` checks before it executes raises here; what it raises later, the future raises. Calls may overtake one another:
        one that takes what another has returned waits for it first, as `run` would. A call that has not begun can be cancelled;
        one that has goes on to its end on the device, whether or not anybody still wants its result.
        """
        self._validate_input(list(input_feed.keys()))
        names, feed = self._names(output_names), self._feed(input_feed)
        return submit(lambda: self._execute(names, feed, run_options))

    async def run_awaitable(
        self,
        output_names: Iterable[str] | None,
        input_feed: Mapping[str, Any],
        run_options: Any = None,  # noqa: ANN401 - the wheel's RunOptions or the stand-in's
    ) -> list[Any]:
        """As `submit`, for asyncio: await it, gather several, or bound one with `asyncio.timeout`, which cancels as above."""
        import asyncio

        return await asyncio.wrap_future(self.submit(output_names, input_feed, run_options))

    def run_with_ort_values(
        self,
        output_names: Iterable[str] | None,
        input_dict_ort_values: Mapping[str, Any],
        run_options: Any = None,  # noqa: ANN401
    ) -> list[Any]:
        """Run on OrtValues of this host; return OrtValues on this host."""
        self._validate_input(list(input_dict_ort_values.keys()))
        feed = {name: from_ort_value(name, value) for name, value in input_dict_ort_values.items()}
        results = self._execute(self._names(output_names), feed, run_options)
        return [runtime().OrtValue.ortvalue_from_numpy(result) for result in results]

    def run_with_iobinding(self, iobinding: IOBinding, run_options: Any = None) -> None:  # noqa: ANN401
        """Run on what is bound."""
        if iobinding._session is not self:
            raise ValueError("IOBinding must be used with the session that created it.")
        try:
            iobinding.run(run_options)
        except (GpupoolError, TypeError):
            raise
        except Exception as error:
            # ONNX Runtime's binding reports every status as a RuntimeError of this form.
            raise RuntimeError(f"Error in execution: {status_text(error)}") from error

    def io_binding(self) -> IOBinding:
        """Return a binding for the session's inputs and outputs."""
        return IOBinding(self)

    def create_ortvalue_from_shape_and_type(
        self,
        shape: Sequence[int],
        element_type: Any,  # noqa: ANN401 - a NumPy type or a TensorProto number
        device_type: str,
        device_id: int = 0,
        vendor_id: int = -1,
    ) -> Any:  # noqa: ANN401 - the wheel's OrtValue or the stand-in's
        """Return a new OrtValue on this host."""
        if device_type != "cpu":
            raise limit(f"InferenceSession.create_ortvalue_from_shape_and_type on {device_type!r}", "values are on this host")
        return runtime().OrtValue.ortvalue_from_shape_and_type(shape, element_type)

    def _validate_input(self, feed_input_names: list[str]) -> None:
        missing = [
            node.name for node in self._inputs_meta if node.name not in feed_input_names and not node.type.startswith("optional")
        ]
        if missing:
            raise ValueError(f"Required inputs ({missing}) are missing from input feed ({feed_input_names}).")

    def _names(self, output_names: Iterable[str] | None) -> list[str]:
        if not output_names:
            return [node.name for node in self._outputs_meta]
        names = [] if isinstance(output_names, str | bytes) else list(output_names)
        if not names or not all(isinstance(name, str) for name in names):
            raise TypeError(f"{_ARGUMENTS} output_names must be a sequence of str, not {output_names!r}")
        return names

    def _feed(self, input_feed: Mapping[str, Any]) -> dict[str, Any]:
        feed = {}
        for name, value in input_feed.items():
            if not isinstance(name, str):
                raise TypeError(f"{_ARGUMENTS} Names of inputs are str, not {name!r}")
            feed[name] = to_wire(name, value, self._types.get(name, ""))
        return feed

    def _execute(
        self,
        names: list[str],
        feed: Mapping[str, Any],
        run_options: Any,  # noqa: ANN401 - the wheel's RunOptions or the stand-in's
        keep: Collection[str] = (),
    ) -> list[Any]:
        config = run_config(run_options)
        lazy = self._lazy.intersection(names).difference(keep) if self._lazy else ()
        with translated():
            if not (lazy or keep):
                return self._remote.run(feed, names, config)
            values = self._remote.run(feed, names, config, keep={*keep, *lazy})
        if not lazy:
            return values
        from gpupool.arrays.lazy import LazyOutput

        return [LazyOutput.of(value) if name in lazy else value for name, value in zip(names, values, strict=True)]

    def run_remote(self, output_names: Iterable[str] | None, input_feed: Mapping[str, Any], run_options: Any = None) -> list[Any]:  # noqa: ANN401
        """As `run`, with outputs that stay on the device: arrays of the slice. Not of ONNX Runtime's surface."""
        self._validate_input(list(input_feed.keys()))
        names = self._names(output_names)
        return self._execute(names, self._feed(input_feed), run_options, keep=names)

    # ── what needs ONNX Runtime in this process ──────

    def end_profiling(self) -> str:
        """Return "", as ONNX Runtime does where profiling is off: it is never on (SessionOptions.enable_profiling is refused)."""
        return ""

    def get_profiling_start_time_ns(self) -> int:
        """Return 0, as ONNX Runtime does where profiling is off."""
        return 0

    def release_captured_graph(self, graph_annotation_id: int = 0) -> None:
        """Do nothing: no graph is ever captured."""

    def get_tuning_results(self) -> list[Any]:
        """Return none: tuning is ONNX Runtime's own on the agent."""
        return []

    def set_tuning_results(self, results: Sequence[Any], *, error_on_invalid: bool = False) -> None:
        """Refuse."""
        raise limit("InferenceSession.set_tuning_results", "tuning belongs to the device it was made on")

    def set_ep_dynamic_options(self, options: Mapping[str, str]) -> None:
        """Refuse."""
        raise limit("InferenceSession.set_ep_dynamic_options", "the device's providers are the agent's")

    def get_input_epdevices(self) -> Sequence[Any]:
        """Refuse."""
        raise limit("InferenceSession.get_input_epdevices", "the slice's device is not one of this host")

    def get_provider_graph_assignment_info(self) -> Sequence[Any]:
        """Refuse."""
        raise limit("InferenceSession.get_provider_graph_assignment_info", "it is known to ONNX Runtime on the agent only")

    def run_with_ortvaluevector(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Refuse."""
        raise limit("InferenceSession.run_with_ortvaluevector", "such a vector is ONNX Runtime's memory: use run()")


def _report_callback() -> None:
    """Report the exception a callback raised, as Python reports one that nobody can catch."""
    kind, value, trace = sys.exc_info()
    told: Any = SimpleNamespace(
        exc_type=kind,
        exc_value=value,
        exc_traceback=trace,
        err_msg="Exception ignored in",
        object="onnxruntime.InferenceSession.run_async callback",
    )
    sys.unraisablehook(told)


def available_providers() -> list[str]:
    """Return the execution providers of this process's slice, best first."""
    return list(opening.current_slice().providers)


def device_name() -> str:
    """Return "GPU" or "CPU": what this process's slice is a share of."""
    return "GPU" if opening.current_slice().kind == "cuda" else "CPU"
