"""What a slice's array namespace says of itself (the standard's inspection functions)."""

from __future__ import annotations

from typing import Any

import numpy as np


class ArrayInfo:
    """The standard's namespace info. Dtypes are NumPy's, which devices share."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._numpy = np.__array_namespace_info__()

    def __repr__(self) -> str:
        return f"<ArrayInfo of {self._device}>"

    def capabilities(self) -> dict[str, Any]:
        """Return what is optional in the standard and is there."""
        return {**self._numpy.capabilities(), "boolean indexing": True, "data-dependent shapes": True}

    def default_device(self) -> str:
        """Return the slice's device."""
        return self._device

    def devices(self) -> list[str]:
        """Return the devices: a slice has one."""
        return [self._device]

    def default_dtypes(self, *, device: Any = None) -> dict[str, Any]:  # noqa: ANN401 - the device's name
        """Return the default dtypes."""
        self._check(device)
        return dict(self._numpy.default_dtypes())

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, Any]:  # noqa: ANN401 - a name; kinds
        """Return the dtypes of these kinds."""
        self._check(device)
        return dict(self._numpy.dtypes(kind=kind))

    def _check(self, device: Any) -> None:  # noqa: ANN401 - the device's name
        if device not in (None, self._device):
            raise ValueError(f"device {device!r} is not this slice's: there is {self._device!r} only")
