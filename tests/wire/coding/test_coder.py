"""Coders: whatever they pack comes back bit for bit, and images take a fraction of their bytes."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gpupool_wire.coding import Coder
from gpupool_wire.coding.coder import MIN_CODED_BYTES
from gpupool_wire.limits import CHUNK_BYTES
from gpupool_wire.tensors import TensorSpec, unpack_tensor

#: So slow a link that every coding pays, and so fast a one that none does (bytes per second).
SLOW, FAST = 1e5, 1e13
DTYPES = ["bool", "int8", "uint8", "int16", "uint32", "int64", "float16", "float32", "float64", "complex64", "complex128"]


def ticking() -> Coder:
    """A coder whose clock says that everything takes a microsecond."""
    return Coder(itertools.count(step=1000).__next__)


def through(coder: Coder, array: np.ndarray, speed: float = SLOW) -> tuple[TensorSpec, np.ndarray]:
    spec, frames = coder.pack(array, speed)
    return spec, unpack_tensor(spec, [bytes(frame) for frame in frames])


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def page(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Smooth grey pixels (uint8)."""
    noise = np.random.default_rng(seed).integers(-3, 4, shape)
    return np.clip(noise.cumsum(-1) + 128, 0, 255).astype(np.uint8)


def normalised(pixels: np.ndarray) -> np.ndarray:
    """What PP-OCR's detector is fed with: each channel of its own mean and deviation."""
    mean = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
    deviation = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
    return ((pixels.astype(np.float32) / 255 - mean) / deviation).astype(np.float32)


@given(
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(np.dtype(dtype), hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=9))
    ),
    st.integers(1, 3_000),
)
@settings(deadline=None)
def test_arrays_of_every_type_and_shape_come_back_bit_for_bit(array: np.ndarray, times: int) -> None:
    large = np.concatenate([array] * min(times, 1 + 200_000 // max(1, array.nbytes))) if array.ndim else array
    assert same(through(ticking(), large)[1], large)


@given(
    st.binary(min_size=4, max_size=64), st.integers(0, 2**32 - 1), st.sampled_from([(4, 3, 48, 30), (2, 1, 64, 100), (17_280,)])
)
@settings(deadline=None)
def test_floats_of_any_bits_come_back_bit_for_bit(seed: bytes, rare: int, shape: tuple[int, ...]) -> None:
    """NaNs of all payloads, both zeros, infinities: among few values, as in images, and one of them rarely."""
    values = np.frombuffer(seed[: len(seed) // 4 * 4], np.uint32)
    bits = np.resize(values, np.prod(shape))
    bits[len(bits) // 3] = rare
    array = bits.view(np.float32).reshape(shape)
    coder = ticking()
    for _ in range(2):
        assert same(through(coder, array)[1], array)


@given(st.lists(st.floats(width=32), min_size=1, max_size=300), st.integers(0, 40), st.integers(0, 5))
@settings(deadline=None)
def test_images_with_odd_values_among_them_come_back_bit_for_bit(odd: list[float], padding: int, places: int) -> None:
    array = normalised(page((3, 3, 48, 64)))
    if padding:
        array[1, :, :, -padding:] = np.float32(odd[0])
    flat = array.reshape(-1)
    for place in range(places):
        flat[place * 977 :: 7919] = np.resize(np.array(odd, np.float32), flat[place * 977 :: 7919].size)
    assert same(through(ticking(), array)[1], array)


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "int4"])
def test_extended_types_come_back(name: str) -> None:
    array = np.resize(np.arange(7), MIN_CODED_BYTES * 2).astype(getattr(ml_dtypes, name))
    spec, back = through(ticking(), array)
    assert spec.coding.endswith("zstd")
    assert same(back, array)


@pytest.mark.parametrize("view", [lambda a: a.T, lambda a: a[:, ::2], lambda a: a.astype(">f4"), lambda a: a[::-1]])
def test_other_layouts_arrive_with_the_same_values(view: object) -> None:
    array = view(normalised(page((3, 48, 256)))[0])  # type: ignore[operator]
    assert np.array_equal(through(ticking(), array)[1], array)


def test_a_normalised_image_takes_less_than_a_quarter() -> None:
    array = normalised(page((1, 3, 200, 300)))
    spec, back = through(ticking(), array)
    assert spec.coding == "palette+zstd"
    assert spec.nbytes < array.nbytes * 0.25
    assert same(back, array)


def test_padding_that_no_pixel_has_does_not_spoil_the_palette() -> None:
    """All 256 values, and 0.0 right of them, which lies between two pixels of x / 127.5 - 1."""
    pixels = np.tile(np.arange(256, dtype=np.uint8), (4, 3, 48, 2))
    array = pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)
    for image, width in zip(array, (512, 400, 301, 511), strict=True):
        image[:, :, width:] = 0.0
    spec, back = through(ticking(), array)
    assert spec.coding.startswith("palette")
    assert same(back, array)


def test_an_image_of_another_contrast_extends_what_was_learnt() -> None:
    coder = ticking()
    dark, bright = normalised(page((1, 3, 64, 64)) // 4), normalised(200 + page((1, 3, 64, 64)) // 8)
    for array in (dark, bright, dark):
        spec, back = through(coder, array)
        assert spec.coding.startswith("palette")
        assert same(back, array)


def test_what_is_no_image_is_not_looked_at_as_one_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpupool_wire.coding import coder as module

    looked: list[int] = []
    real = module.encode_images
    monkeypatch.setattr(module, "encode_images", lambda array, palettes: looked.append(1) or real(array, palettes))
    coder, noise = ticking(), np.random.default_rng(0).standard_normal((64, 256)).astype(np.float32)
    for _ in range(100):
        assert same(through(coder, noise)[1], noise)
    assert 0 < len(looked) < 12


def test_a_fast_link_gets_views_and_not_codes() -> None:
    array = normalised(page((1, 3, 200, 300)))
    spec, frames = ticking().pack(array, FAST)
    assert spec.coding == "raw"
    assert np.shares_memory(np.frombuffer(frames[0], np.uint8), array)


def test_without_a_speed_everything_travels_raw() -> None:
    assert ticking().pack(np.zeros(100_000, np.uint8), 0)[0].coding == "raw"


def test_small_tensors_travel_raw() -> None:
    assert ticking().pack(np.zeros(MIN_CODED_BYTES - 1, np.uint8), SLOW)[0].coding == "raw"


def test_what_does_not_get_smaller_travels_raw() -> None:
    noise = np.frombuffer(np.random.default_rng(0).bytes(100_000), np.uint8)
    assert ticking().pack(noise, SLOW)[0].coding == "raw"


def test_texts_travel_as_they_do() -> None:
    array = np.array(["a", "bc"] * 10_000, object)
    spec, back = through(ticking(), array)
    assert spec.coding == "raw"
    assert back.tolist() == array.tolist()


def test_a_large_image_travels_in_chunks() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 1600, 1200)).astype(np.uint8)  # noise: only the palette helps
    array = normalised(pixels)
    spec, frames = ticking().pack(array, SLOW)
    assert spec.coding.startswith("palette")
    assert max(map(len, frames)) <= CHUNK_BYTES
    assert spec.frames == len(frames) == 3
    assert same(unpack_tensor(spec, frames), array)
