"""YAML to a snapshot that is known to be sound, and back."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import msgspec

from gpupool_ocr.plans.graph import PlanError
from gpupool_ocr.plans.resolve import resolve_all
from gpupool_ocr.plans.spec import Snapshot

#: A snapshot is written by people.
MAX_BYTES = 1 << 20


def read_snapshot(text: str | bytes) -> Snapshot:
    """Return the snapshot in a YAML text. Raises PlanError with the place in the text where it is not one."""
    import yaml

    if len(text) > MAX_BYTES:
        raise PlanError(f"the snapshot has {len(text)} bytes; the limit is {MAX_BYTES}")
    try:
        data = yaml.load(text, Loader=_loader())  # noqa: S506 - a SafeLoader, made stricter
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise PlanError(f"the snapshot is not YAML: {error}") from error
    try:
        snapshot = msgspec.convert(data, Snapshot)
    except msgspec.ValidationError as error:
        raise PlanError(f"the snapshot does not fit: {error}") from error
    resolve_all(snapshot)
    return snapshot


def write_snapshot(snapshot: Snapshot) -> str:
    """Return a snapshot as YAML, defaults left out."""
    import yaml

    return yaml.safe_dump(_without_defaults(snapshot), sort_keys=False, allow_unicode=True)


def default_snapshot() -> Snapshot:
    """Return what a service starts with where nothing was applied yet."""
    return read_snapshot((files("gpupool_ocr.plans") / "default.yaml").read_text())


def _without_defaults(value: object) -> Any:  # noqa: ANN401 - plain data of any shape
    if isinstance(value, msgspec.Struct):
        defaults = {field.name: field for field in msgspec.structs.fields(value)}
        return {
            name: _without_defaults(inner)
            for name in value.__struct_fields__
            if (inner := getattr(value, name)) is not msgspec.UNSET and inner != _default(defaults[name])
        }
    if isinstance(value, dict):
        return {key: _without_defaults(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_defaults(inner) for inner in value]
    return value


def _default(field: msgspec.structs.FieldInfo) -> object:
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default


def _loader() -> type[Any]:
    """Return a loader that makes plain data only, and refuses keys that are written twice, and aliases, which make bombs."""
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: ANN401 - pyyaml's own types
            if self.check_event(yaml.events.AliasEvent):
                node_event: Any = self.peek_event()  # type: ignore[no-untyped-call]
                raise yaml.constructor.ConstructorError(None, None, "aliases are not allowed", node_event.start_mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: ANN401 - pyyaml's own types
            seen: set[str] = set()
            for key, _ in node.value:
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is written twice", key.start_mark)
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    return Loader
