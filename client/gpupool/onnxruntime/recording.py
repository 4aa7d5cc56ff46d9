"""Remembers what is set on SessionOptions and RunOptions through methods.

    options.add_session_config_entry(k, v) ──> the class's own method, then a record kept beside the object

Several settings are write-only: nothing can be read back from the object. So the methods of the genuine classes are wrapped,
once; the classes stay what they are, and what the methods do stays as it was. A record lives as long as its object.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary


class Record:
    """What was set on one object through methods."""

    __slots__ = ("config", "free_dimensions_by_denotation", "free_dimensions_by_name", "load_canceled", "local_only", "providers")

    def __init__(self) -> None:
        self.config: dict[str, str] = {}
        self.free_dimensions_by_name: dict[str, int] = {}
        self.free_dimensions_by_denotation: dict[str, int] = {}
        #: Execution providers named on the options, with their options.
        self.providers: list[tuple[str, dict[str, str]]] = []
        #: Methods called that need ONNX Runtime in this process, in order.
        self.local_only: list[str] = []
        self.load_canceled = False


_records: WeakKeyDictionary[object, Record] = WeakKeyDictionary()
_watched: set[type] = set()


def record_of(options: object) -> Record:
    """Return the record of an object; a fresh one where nothing was set through a method."""
    return _records.get(options) or Record()


def _config(record: Record, key: str, value: str) -> None:
    record.config[key] = value


def _by_name(record: Record, name: str, value: int) -> None:
    record.free_dimensions_by_name[name] = int(value)


def _by_denotation(record: Record, name: str, value: int) -> None:
    record.free_dimensions_by_denotation[name] = int(value)


def _provider(record: Record, name: str, options: dict[str, str]) -> None:
    record.providers.append((name, dict(options)))


def _cancel(record: Record, value: bool) -> None:
    record.load_canceled = value


def _local(name: str) -> Callable[..., None]:
    def note(record: Record, *args: object, **kwargs: object) -> None:
        record.local_only.append(name)

    return note


def _undo(name: str) -> Callable[..., None]:
    def forget(record: Record) -> None:
        record.local_only = [method for method in record.local_only if method != name]

    return forget


#: What is kept of each method's call. Names an older wheel does not have are passed over.
_SESSION: dict[str, Callable[..., None]] = {
    "add_session_config_entry": _config,
    "add_free_dimension_override_by_name": _by_name,
    "add_free_dimension_override_by_denotation": _by_denotation,
    "add_provider": _provider,
    "add_provider_for_devices": _local("add_provider_for_devices"),
    "add_initializer": _local("add_initializer"),
    "add_external_initializers": _local("add_external_initializers"),
    "add_external_initializers_from_files_in_memory": _local("add_external_initializers_from_files_in_memory"),
    "register_custom_ops_library": _local("register_custom_ops_library"),
    "set_load_cancellation_flag": _cancel,
    "set_ep_context_data_read_func": _local("set_ep_context_data_read_func"),
    "clear_ep_context_data_read_func": _undo("set_ep_context_data_read_func"),
}
_RUN: dict[str, Callable[..., None]] = {
    "add_run_config_entry": _config,
    "add_active_adapter": _local("add_active_adapter"),
}


def _wrap(kind: Any, name: str, keep: Callable[..., None]) -> None:  # noqa: ANN401 - a class made by pybind11 or by us
    original = getattr(kind, name)

    @functools.wraps(original)
    def recorded(self: object, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the method takes
        answer = original(self, *args, **kwargs)  # first: what it refuses is not recorded
        keep(_records.setdefault(self, Record()), *args, **kwargs)
        return answer

    setattr(kind, name, recorded)


def watch(session_options: type, run_options: type) -> None:
    """Record calls on these two classes from now on; a second call changes nothing."""
    for kind, table in ((session_options, _SESSION), (run_options, _RUN)):
        if kind in _watched:
            continue
        _watched.add(kind)
        for name, keep in table.items():
            if hasattr(kind, name):
                _wrap(kind, name, keep)
