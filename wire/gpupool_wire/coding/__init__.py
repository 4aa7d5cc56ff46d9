"""Fewer bytes for the same tensors, to the last bit.

    Coder.pack(array, link speed) ──> (TensorSpec, frames)  ══>  decode_tensor ──> array

Pure: no sockets, no threads, no clock. Who packs says how fast the link is, and gets raw frames where coding would not pay.
"""

from __future__ import annotations

from gpupool_wire.coding.coder import Coder
from gpupool_wire.coding.decoding import decode_tensor
from gpupool_wire.coding.link_speed import LinkSpeed

__all__ = ["Coder", "LinkSpeed", "decode_tensor"]
