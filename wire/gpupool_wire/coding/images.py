"""Image tensors as a recipe and one byte a pixel.

    float32 (N, C, H, W) ──trim──> kept columns ──palettes──> uint8 body          recipe: tables, widths, pads
    recipe + body ──tables, pads──> float32 (N, C, H, W), bit for bit

What arrives is a stranger's: a recipe that does not fit its tensor is a RemoteProtocolError before anything is made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Annotated, Final, TypeVar

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from gpupool_wire.coding.layout import MAX_CHANNELS, MAX_TRIMMED_IMAGES, Layout, Trimmed, layout_of, trim
from gpupool_wire.coding.palette import TABLE_BYTES, Floats, Indexes, Palette, Scratch, Unfit, decode, guess
from gpupool_wire.errors import RemoteProtocolError

N = TypeVar("N", np.float32, np.uint32)

#: Values looked at to guess a palette, and how often a guess is mended by values that did not fit it.
SAMPLED: Final = 4_096
MAX_GUESSES: Final = 5


class Recipe(msgspec.Struct, frozen=True, array_like=True):
    """What turns the body back into the tensor."""

    #: Palettes: 256 little-endian float32 each.
    tables: Annotated[bytes, Meta(min_length=TABLE_BYTES, max_length=MAX_CHANNELS * TABLE_BYTES)]
    #: Columns kept of each image, and the value (four bytes each) of the others; empty where all are kept.
    widths: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(max_length=MAX_TRIMMED_IMAGES)] = []
    pads: Annotated[bytes, Meta(max_length=4 * MAX_TRIMMED_IMAGES)] = b""


_decode_recipe = msgspec.msgpack.Decoder(Recipe).decode
encode_recipe = msgspec.msgpack.Encoder().encode


class Coded(msgspec.Struct, frozen=True):
    """A tensor as images: its recipe, its body, and what was learnt about such tensors."""

    recipe: Recipe
    body: Indexes
    palettes: list[Palette]


def encode_images(array: Floats, palettes: Sequence[Palette] = ()) -> Coded | None:
    """Return a C-contiguous float32 tensor as images; None where it is none that palettes can tell.

    `palettes`: those of an earlier tensor from the same source, which are not changed. One serves all channels where it can.
    """
    layout = layout_of(array.shape)
    images = array.reshape(layout)
    trimmed = trim(images.view(np.uint32))
    body = np.empty(trimmed.nbytes_of(layout) if trimmed else array.size, np.uint8)
    for way in _ways(images, trimmed, palettes):
        if learnt := _encoded(images, trimmed, way, body):
            tables = b"".join(palette.table.tobytes() for palette in learnt)
            widths, pads = (trimmed.widths, trimmed.pads.tobytes()) if trimmed else ([], b"")
            return Coded(Recipe(tables, widths, pads), body, learnt)
    return None


def decode_images(shape: tuple[int, ...], recipe_frame: bytes, body_of: Callable[[int], Indexes]) -> Floats:
    """Return the float32 tensor of a recipe and a body; raise RemoteProtocolError where they are none of that shape.

    `body_of` returns a body of so many pixels, or raises that error itself.
    """
    layout = layout_of(shape)
    recipe, kept = _checked(recipe_frame, layout)
    body = body_of(kept)
    tables = np.frombuffer(recipe.tables, np.uint32).reshape(-1, TABLE_BYTES // 4)
    out = np.empty(layout, np.uint32)
    trimmed = Trimmed(recipe.widths, np.frombuffer(recipe.pads, np.uint32)) if recipe.widths else None
    if trimmed is not None:
        for image, width, pad in zip(out, *trimmed, strict=True):
            image[:, :, width:] = pad
    place, scratch = 0, Scratch.new()
    for number, plane in _planes(out, trimmed, len(tables)):
        decode(body[place : place + plane.size], tables[number], plane, scratch)
        place += plane.size
    return out.view(np.float32).reshape(shape)


def _checked(frame: bytes, layout: Layout) -> tuple[Recipe, int]:
    """Return the recipe in a frame, and how many pixels its body has."""
    try:
        recipe = _decode_recipe(frame)
    except (msgspec.MsgspecError, UnicodeError, OverflowError) as error:
        raise RemoteProtocolError(f"the recipe of a coded tensor is malformed: {error}") from error
    count, rest = divmod(len(recipe.tables), TABLE_BYTES)
    if rest or count not in (1, layout.own_palettes):
        raise RemoteProtocolError(f"{len(recipe.tables)} bytes are no palettes for {layout.channels} channels")
    if not recipe.widths and not recipe.pads:
        return recipe, layout.images * layout.channels * layout.rows * layout.columns
    if not (len(recipe.widths) == layout.images == len(recipe.pads) / 4 and max(recipe.widths) <= layout.columns):
        raise RemoteProtocolError(
            f"a recipe of {len(recipe.widths)} widths and {len(recipe.pads)} bytes of padding is none for "
            f"{layout.images} images of {layout.columns} columns"
        )
    return recipe, layout.channels * layout.rows * sum(recipe.widths)


def _ways(images: Floats, trimmed: Trimmed | None, palettes: Sequence[Palette]) -> Iterator[Sequence[Palette]]:
    """Yield palettes to try: those of an earlier tensor, one for all channels, one for each."""
    channels = images.shape[1]
    own = channels if channels <= MAX_CHANNELS else 1
    if palettes and len(palettes) in (1, own):
        yield palettes
    if (one := guess(_sample(images, trimmed))) is not None:
        yield [one]
    if own > 1:
        each = [guess(_sample(images[:, channel : channel + 1], trimmed)) for channel in range(own)]
        if len(found := [palette for palette in each if palette is not None]) == own:
            yield found


def _encoded(images: Floats, trimmed: Trimmed | None, palettes: Sequence[Palette], body: Indexes) -> list[Palette] | None:
    """Write the indexes of `images` to `body`; return the palettes that tell them all, None where there are none."""
    learnt, scratch = [palette.copy() for palette in palettes], Scratch.new()
    for _ in range(MAX_GUESSES):
        place, number = 0, 0
        try:
            for number, plane in _planes(images, trimmed, len(learnt)):
                learnt[number].encode(plane, body[place : place + plane.size], scratch)
                place += plane.size
        except Unfit as unfit:
            mended = guess(np.concatenate([learnt[number].values, unfit.values]))
            if mended is None:
                return None
            learnt[number] = mended
        else:
            return learnt
    return None


def _planes(images: NDArray[N], trimmed: Trimmed | None, palettes: int) -> Iterator[tuple[int, NDArray[N]]]:
    """Yield what is kept of images (N, C, H, W), as planes (rows, columns) in order, with the number of their palette."""
    count, channels, rows, columns = images.shape
    if trimmed is None and palettes == 1:
        yield 0, images.reshape(1, -1)
        return
    # Where one palette serves all channels of an image, they are one plane, the one below the other.
    planes = images.reshape(count, palettes, -1, columns)
    for image, number in product(range(count), range(palettes)):
        width = columns if trimmed is None else trimmed.widths[image]
        if rows and channels and width:
            yield number, planes[image, number, :, :width]


def _sample(images: Floats, trimmed: Trimmed | None) -> Floats:
    """Return some of the values that are kept, evenly spread."""
    if trimmed is None:
        flat = images.reshape(-1)
        return flat[:: max(1, flat.size // SAMPLED)]
    parts = [image[:, :, :width].reshape(-1) for image, width in zip(images, trimmed.widths, strict=True)]
    each = max(1, SAMPLED // len(parts))
    return np.concatenate([part[:: max(1, part.size // each)] for part in parts])
