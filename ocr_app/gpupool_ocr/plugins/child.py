"""The process of a plug-in: `python -m gpupool_ocr.plugins.child FD CALL OPTIONS MEMORY_MIB`.

It answers one question after the other until its socket ends. Standard output belongs to the plug-in.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import msgspec

from gpupool_ocr.plugins.frames import Answer, FrameError, Question, receive, send

#: Entry points by which packages offer plug-ins.
GROUP = "gpupool.ocr.plugins"
#: How often it is looked whether the service still lives: a plug-in that hangs must not outlive it.
WATCH_S = 1.0


def find(call: str) -> Callable[..., Any]:
    """Return the function of "module:function" or of an entry point. Raises LookupError, ImportError, AttributeError."""
    if ":" in call:
        module, _, name = call.partition(":")
        found = getattr(import_module(module), name)
    else:
        (entry,) = entry_points(group=GROUP, name=call) or (None,)
        if entry is None:
            known = ", ".join(sorted(entry.name for entry in entry_points(group=GROUP))) or "none"
            raise LookupError(f"no installed package offers a plug-in {call!r}; there are: {known}")
        found = entry.load()
    if not callable(found):
        raise TypeError(f"{call} is no function")
    return found  # type: ignore[no-any-return]


def answer(function: Callable[..., Any], payload: bytes, options: dict[str, Any]) -> Answer:
    """Return what the plug-in says of a page; its exceptions become errors."""
    question = msgspec.msgpack.decode(payload, type=Question)
    page: dict[str, Any] = {"lines": question.lines, "height": question.height, "width": question.width}
    if question.image is not None:
        import numpy as np

        shape = (question.height, question.width, question.colours)
        page["image"] = np.frombuffer(question.image, np.uint8).reshape(shape)
    try:
        return Answer(fields=function(page, **options))
    except Exception as error:  # noqa: BLE001 - a stranger's code; the service says what it raised
        return Answer(error=f"{type(error).__name__}: {error}"[:1000])


def main() -> None:
    descriptor, call, options, memory_mib = sys.argv[1:]
    parent = os.getppid()
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    with socket.socket(fileno=int(descriptor)) as channel:
        try:
            function = find(call)
        except Exception as error:  # noqa: BLE001 - whatever a stranger's module raises when it is imported
            send(channel, Answer(error=f"{type(error).__name__}: {error}"[:1000]))
            return
        _limit_memory(int(memory_mib))
        send(channel, Answer(is_ready=True))
        settings = msgspec.json.decode(options)
        while True:
            try:
                payload = receive(channel)
            except (EOFError, OSError):
                return
            try:
                send(channel, answer(function, payload, settings))
            except (TypeError, ValueError, FrameError) as error:
                send(channel, Answer(error=f"returned what cannot travel: {error}"[:1000]))


def _limit_memory(memory_mib: int) -> None:
    import resource

    with open("/proc/self/statm") as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (memory_mib << 20),) * 2)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(1)


if __name__ == "__main__":
    main()
