"""Arrays are coded on their way up and down, where the link is slow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpupool.settings import CodingMode

PIXELS = np.resize(np.arange(250, dtype=np.float32) / np.float32(255), (2, 3, 200, 200))


@pytest.fixture
def far(make_xp: Callable[..., Any]) -> Any:
    """A namespace whose link is slow."""
    return make_xp(coding=CodingMode.ALWAYS)


def pace(xp: Any) -> Any:
    return xp._caller.stream.home.current.pace


def test_large_arrays_come_back_bit_for_bit_in_fewer_bytes(far: Any) -> None:
    array = far.asarray(PIXELS)
    doubled = array + array
    assert np.asarray(doubled).tobytes() == (PIXELS + PIXELS).tobytes()
    assert pace(far).saved_bytes > PIXELS.nbytes / 2
    assert np.asarray(array).flags.writeable


def test_an_array_may_be_changed_as_soon_as_it_is_sent(far: Any) -> None:
    pixels = PIXELS.copy()
    array = far.asarray(pixels)
    pixels[:] = -1
    assert np.asarray(array).tobytes() == PIXELS.tobytes()


def test_nothing_is_coded_where_that_is_off(make_xp: Callable[..., Any]) -> None:
    near = make_xp(coding=CodingMode.OFF)
    assert np.asarray(near.asarray(PIXELS) + 1).tobytes() == (PIXELS + 1).tobytes()
    assert pace(near).saved_bytes == 0
