"""What the loader's thread does: models are opened, stored part by part, and given up."""

from __future__ import annotations

from gpupool_agent.call import Call, Done
from gpupool_agent.models import ModelCache
from gpupool_agent.programs import Programs
from gpupool_wire.errors import RemoteProtocolError
from gpupool_wire.messages import CloseSession, ModelMissing, ModelStored, OpenModel, PutModel, SessionClosed


class Loading:
    """Calls about models as such. Used by one thread."""

    def __init__(self, programs: Programs, cache: ModelCache) -> None:
        self._programs = programs
        self._cache = cache

    def load(self, call: Call) -> Done:
        """Do one of them; raise what opening or storing raises, and RemoteProtocolError for any other call."""
        match call.message:
            case OpenModel():
                opened = self._programs.acquire(call.message)
                if isinstance(opened, ModelMissing):
                    return Done(call=call, reply=opened)
                return Done(call=call, reply=None, opened=opened)
            case PutModel(call_id=call_id, sha256=sha256, offset=offset):
                if len(call.frames) != 1:
                    raise RemoteProtocolError(f"a part of a model comes in one frame, not in {len(call.frames)}")
                complete = self._cache.put(sha256, offset, call.frames[0])
                return Done(call=call, reply=ModelStored(call_id=call_id, sha256=sha256, complete=complete))
            case CloseSession(call_id=call_id, session_id=session_id):
                if call.shared is not None:
                    self._programs.release(call.shared)
                return Done(call=call, reply=SessionClosed(call_id=call_id, session_id=session_id))
        raise RemoteProtocolError(f"{type(call.message).__name__} is not a call for the loader")
