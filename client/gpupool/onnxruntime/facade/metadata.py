"""What a session says about its model, and about memory on this side."""

from __future__ import annotations

from gpupool.onnxruntime.facade.enums import OrtAllocatorType, OrtMemType


class OrtMemoryInfo:
    """A kind of memory. Inputs and outputs of a remote session are on this host, whatever device the slice is on."""

    def __init__(self, name: str, allocator_type: OrtAllocatorType, device_id: int, mem_type: OrtMemType) -> None:
        self.name = name
        self.allocator_type = allocator_type
        self.device_id = device_id
        self.mem_type = mem_type
