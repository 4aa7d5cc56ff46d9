"""How a session comes to be on a link: opened by the model's hash, its bytes uploaded only where the worker does not have them.

OpenModel ──missing──> PutModel … ──> OpenModel ──> SessionOpened
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from gpupool.link import Link
from gpupool.model_source import KeptModel
from gpupool_wire.errors import LocalProtocolError, RemoteProtocolError
from gpupool_wire.messages import (
    Message,
    ModelMissing,
    ModelOptions,
    ModelStored,
    OpenModel,
    PutModel,
    SessionOpened,
    WorkerToClient,
)
from gpupool_wire.tensors import Buffer

if TYPE_CHECKING:
    from gpupool.profiling.watch import Watch

_log = logging.getLogger(__name__)

#: One upload is enough unless another process uploads the same model at the same time.
MAX_UPLOADS: Final = 4

Ask = Callable[[Message, Sequence[Buffer]], tuple[WorkerToClient, list[Buffer]]]


def open_on(link: Link, source: KeptModel, options: ModelOptions, watch: Watch | None = None) -> SessionOpened:
    """Open a session, uploading what the worker does not have of the model."""
    ask: Ask = link.call if watch is None else functools.partial(watch.call, link, "open", source.name)
    for _ in range(MAX_UPLOADS):
        question = OpenModel(call_id=link.next_call_id(), sha256=source.sha256, nbytes=source.nbytes, options=options)
        answer, _frames = ask(question, [])
        if isinstance(answer, SessionOpened):
            return answer
        if not isinstance(answer, ModelMissing):
            raise out_of_place(question, answer)
        try:
            _upload(link, ask, source, answer.offset)
        except LocalProtocolError as error:
            # Another channel uploads the same model at the same time, or the upload was dropped: ask again what is missing.
            _log.debug("upload of %r starts again: %s", source, error)
    raise RemoteProtocolError(f"the worker at {link.worker} still asks for {source!r} after {MAX_UPLOADS} uploads")


def _upload(link: Link, ask: Ask, source: KeptModel, offset: int) -> None:
    for start, part in source.parts(offset):
        question = PutModel(call_id=link.next_call_id(), sha256=source.sha256, offset=start, nbytes=len(part))
        answer, _ = ask(question, [part])
        if not isinstance(answer, ModelStored):
            raise out_of_place(question, answer)


def out_of_place(question: Message, answer: WorkerToClient) -> RemoteProtocolError:
    """Return the error for an answer that is none to that question."""
    return RemoteProtocolError(f"the worker answered {type(question).__name__} with {type(answer).__name__}")
