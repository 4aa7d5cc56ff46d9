"""What a session says about its model. On a host with the wheel these pass `isinstance` checks for the wheel's own classes."""

from __future__ import annotations

from gpupool_wire.messages import ModelMeta, TensorInfo


def _genuine(name: str, own: type) -> type:
    from gpupool.onnxruntime.wheel import runtime

    kind = getattr(runtime(), name, own)
    return kind if isinstance(kind, type) else own


class NodeArg:
    """An input or output: its name, type ("tensor(float)") and shape (numbers, names of dimensions, None)."""

    __slots__ = ("__weakref__", "name", "shape", "type")

    def __init__(self, info: TensorInfo) -> None:
        self.name = info.name
        self.type = info.type
        self.shape = list(info.shape)

    # The wheel's class has no constructor, so an instance of ours can only say that it is one.
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return _genuine("NodeArg", NodeArg)

    def __repr__(self) -> str:
        return f"NodeArg(name={self.name!r}, type={self.type!r}, shape={self.shape!r})"


class ModelMetadata:
    """What the model's file says about the model."""

    __slots__ = (
        "__weakref__",
        "custom_metadata_map",
        "description",
        "domain",
        "graph_description",
        "graph_name",
        "producer_name",
        "version",
    )

    def __init__(self, meta: ModelMeta) -> None:
        self.custom_metadata_map = dict(meta.custom_metadata_map)
        self.description = meta.description
        self.domain = meta.domain
        self.graph_description = meta.graph_description
        self.graph_name = meta.graph_name
        self.producer_name = meta.producer_name
        self.version = meta.version

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return _genuine("ModelMetadata", ModelMetadata)
