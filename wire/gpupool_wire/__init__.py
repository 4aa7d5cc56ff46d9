"""The language the rooms of gpupool speak: messages, frames, session state, tensors, errors, units.

Pure: no sockets, no threads, no clock. The same objects serve a blocking client, a threaded worker and an asyncio broker.
"""
