"""What arrives coded comes from a stranger: whatever it is, the answer is a tensor or a RemoteProtocolError."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gpupool_wire.coding import Coder
from gpupool_wire.coding.images import Recipe, encode_recipe
from gpupool_wire.errors import RemoteProtocolError
from gpupool_wire.tensors import TensorSpec, unpack_tensor

TABLE = np.arange(256, dtype=np.float32).tobytes()
SHAPE = (2, 3, 4, 20)
PIXELS = 2 * 3 * 4 * 20


def spec_of(frames: list[bytes], coding: str, shape: tuple[int, ...] = SHAPE, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(dtype, shape, len(frames), sum(map(len, frames)), coding)


def palette(recipe: Recipe, pixels: int) -> list[bytes]:
    return [encode_recipe(recipe), bytes(pixels)]


def test_a_recipe_and_its_body_make_the_tensor() -> None:
    frames = palette(Recipe(TABLE, [20, 5], np.array([7.5, 9.5], np.float32).tobytes()), 3 * 4 * 25)
    array = unpack_tensor(spec_of(frames, "palette"), frames)
    assert array.shape == SHAPE
    assert not array[0].any()
    assert not array[1, :, :, :5].any()
    assert (array[1, :, :, 5:] == 9.5).all()


@pytest.mark.parametrize(
    ("recipe", "pixels"),
    [
        pytest.param(Recipe(TABLE[:-4]), PIXELS, id="table too short"),
        pytest.param(Recipe(TABLE + TABLE), PIXELS, id="two palettes for three channels"),
        pytest.param(Recipe(TABLE), PIXELS - 1, id="a pixel missing"),
        pytest.param(Recipe(TABLE), PIXELS + 1, id="a pixel more"),
        pytest.param(Recipe(TABLE, [20], bytes(4)), PIXELS // 2, id="a width for one of two images"),
        pytest.param(Recipe(TABLE, [20, 21], bytes(8)), 3 * 4 * 41, id="wider than the tensor"),
        pytest.param(Recipe(TABLE, [20, -1], bytes(8)), 3 * 4 * 19, id="a negative width"),
        pytest.param(Recipe(TABLE, [20, 20], bytes(4)), PIXELS, id="padding for one of two"),
        pytest.param(Recipe(TABLE, [], bytes(8)), PIXELS, id="padding without widths"),
        pytest.param(Recipe(TABLE, [20] * 5000, bytes(20_000)), PIXELS, id="thousands of widths"),
    ],
)
def test_a_recipe_that_does_not_fit_its_tensor_is_refused(recipe: Recipe, pixels: int) -> None:
    frames = palette(recipe, pixels)
    with pytest.raises(RemoteProtocolError):
        unpack_tensor(spec_of(frames, "palette"), frames)


@pytest.mark.parametrize("recipe", [b"", b"\x93", b"\xc1" * 40, b"\x91\xc0", bytes(2000), b"\xff" * 70_000])
def test_a_malformed_recipe_is_refused(recipe: bytes) -> None:
    frames = [recipe, bytes(PIXELS)]
    with pytest.raises(RemoteProtocolError, match="recipe"):
        unpack_tensor(spec_of(frames, "palette"), frames)


@pytest.mark.parametrize(
    ("coding", "dtype"),
    [
        ("lzma", "uint8"),
        ("", "uint8"),
        ("palette+lzma", "float32"),
        ("palette", "float64"),
        ("x" * 10_000, "uint8"),
        ("zstd", "string"),
    ],
)
def test_an_unknown_coding_is_refused(coding: str, dtype: str) -> None:
    frames = [bytes(30), bytes(40)]
    with pytest.raises(RemoteProtocolError):
        unpack_tensor(spec_of(frames, coding, dtype=dtype), frames)


def test_palette_frames_of_another_count_are_refused() -> None:
    for frames in ([], [encode_recipe(Recipe(TABLE))]):
        with pytest.raises(RemoteProtocolError):
            unpack_tensor(spec_of(frames, "palette"), frames)


@pytest.mark.parametrize("coding", ["zstd", "shuffle+zstd"])
@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(zstandard.ZstdCompressor().compress(bytes(1 << 30)), id="a gigabyte for a kilobyte"),
        pytest.param(zstandard.ZstdCompressor(write_content_size=False).compress(bytes(PIXELS * 4)), id="no size"),
        pytest.param(zstandard.ZstdCompressor().compress(bytes(PIXELS * 4 - 1)), id="a byte missing"),
        pytest.param(zstandard.ZstdCompressor().compress(bytes(PIXELS * 4))[:-2], id="cut off"),
        pytest.param(b"no zstandard at all", id="another format"),
        pytest.param(b"", id="empty"),
    ],
)
def test_what_does_not_decompress_to_the_tensor_is_refused(coding: str, packed: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        unpack_tensor(spec_of([packed], coding), [packed])


def test_a_bomb_that_lies_about_its_size_makes_no_more_than_it_said() -> None:
    bomb = bytearray(zstandard.ZstdCompressor().compress(bytes(1 << 26)))
    said = bytes(bomb).index((1 << 26).to_bytes(4, "little"))
    bomb[said : said + 4] = (PIXELS * 4).to_bytes(4, "little")
    frames = [bytes(bomb)]
    with pytest.raises(RemoteProtocolError):
        unpack_tensor(spec_of(frames, "zstd"), frames)


def test_a_tensor_over_the_limit_of_a_message_is_refused_before_it_is_made() -> None:
    frames = [zstandard.ZstdCompressor().compress(b"")]
    with pytest.raises(RemoteProtocolError, match="cannot be in"):
        unpack_tensor(spec_of(frames, "zstd", (1 << 40, 1 << 40)), frames)


def coded(coding: str) -> tuple[TensorSpec, list[bytes]]:
    """What a coder makes of an image with padding."""
    array = np.resize(np.arange(200, dtype=np.float32), (2, 3, 64, 64))
    array[0, :, :, 50:] = 0.25
    clock = itertools.count(step=1000).__next__
    spec, frames = Coder(clock).pack(array if coding != "zstd" else array.astype(np.uint8), 1e5)
    return spec, [bytes(frame) for frame in frames]


@given(st.sampled_from(["palette+zstd", "zstd"]), st.data())
@settings(deadline=None, max_examples=300)
def test_damaged_frames_give_a_tensor_or_a_remote_error(coding: str, data: st.DataObject) -> None:
    spec, frames = coded(coding)
    number = data.draw(st.integers(0, len(frames) - 1))
    damaged = bytearray(frames[number])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        if data.draw(st.booleans()):
            damaged[place] ^= data.draw(st.integers(1, 255))
        else:
            del damaged[place:]
            damaged += data.draw(st.binary(min_size=1, max_size=8))
    frames[number] = bytes(damaged)
    lying = TensorSpec(
        spec.dtype, spec.shape, spec.frames, sum(map(len, frames)), data.draw(st.sampled_from([spec.coding, "shuffle+zstd"]))
    )
    try:
        array = unpack_tensor(lying, frames)
    except RemoteProtocolError:
        return
    assert array.shape == spec.shape
    assert array.dtype == spec.dtype
