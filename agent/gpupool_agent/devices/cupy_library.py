"""CuPy as a device's array library, as far as it has what the table names.

CuPy keeps NumPy's older names for some functions; they are aliases here. What it does not have at all is refused by name when a
program asks for it. Written against CuPy's documentation and tested against a stand-in: it has never met a GPU.
"""

from __future__ import annotations

from gpupool_agent.devices.cuda_driver import Driver
from gpupool_agent.devices.library import ArrayLibrary, DeviceArray
from gpupool_wire.tensors import Array


class CupyLibrary(ArrayLibrary):
    """CuPy, through the driver, which moves arrays and knows their addresses."""

    aliases = {  # noqa: RUF012 - constant
        "acos": "arccos",
        "acosh": "arccosh",
        "asin": "arcsin",
        "asinh": "arcsinh",
        "atan": "arctan",
        "atan2": "arctan2",
        "atanh": "arctanh",
        "bitwise_invert": "invert",
        "bitwise_left_shift": "left_shift",
        "bitwise_right_shift": "right_shift",
        "concat": "concatenate",
        "linalg.diagonal": "diagonal",
        "linalg.matmul": "matmul",
        "linalg.outer": "outer",
        "linalg.tensordot": "tensordot",
        "linalg.trace": "trace",
        "permute_dims": "transpose",
        "pow": "power",
    }

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver.arrays())
        self._driver = driver

    def from_host(self, array: Array) -> DeviceArray:
        """Return a tensor that arrived, on the device."""
        self._driver.use()
        return self._driver.upload(array)

    def to_host(self, array: DeviceArray) -> Array:
        """Return an array of the device as it travels."""
        self._driver.use()
        return self._driver.download(array)

    def writable(self, array: DeviceArray) -> bool:
        """Every array of CuPy's may be written to."""
        return True
