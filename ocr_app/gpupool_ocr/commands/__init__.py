"""The commands of `gpupool ocr`, one module each with its own `register(group)`; importing them imports nothing heavy."""
