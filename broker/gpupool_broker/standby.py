"""Standing by: another broker serves from the database; when it ends, this one takes over.

    take ──no──> wait: /healthz ok, /readyz 503 ──take──yes──> serve, with everything that was acknowledged

Nobody votes and nobody counts time: the database gives the right to write to one connection at a time, and takes it back when
that connection ends. The control port is not bound meanwhile, so that clients and agents go on to the next address at once.
"""

from __future__ import annotations

import logging
import threading

import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from gpupool_broker.rest_server import RestServer
from gpupool_broker.store.databases import Database
from gpupool_broker.store.errors import StoreFailed
from gpupool_broker.store.writer import Writer

log = logging.getLogger(__name__)

#: Between two attempts: a twenty-fifth of the 5 s in which a take-over has to be done.
POLL_S = 0.2


def wait_for_right(database: Database, rest: RestServer) -> Writer | None:
    """Return the right to write once it is had, None where the process is told to stop before."""
    waiting = _Waiting(database, rest)
    if not waiting.has_taken():
        log.info("another broker serves from this database: standing by", extra={"action": "standby"})
        waiting.start()
        rest.run(standby_app())
        waiting.stop()
    if waiting.taken is not None and rest.is_stopping:
        waiting.taken.close()
        return None
    return None if waiting.taken is None else Writer(waiting.taken)


class _Waiting(threading.Thread):
    """Asks for the right again and again, and ends the standby application once it is had."""

    def __init__(self, database: Database, rest: RestServer) -> None:
        super().__init__(name="broker-standby", daemon=True)
        self.taken: sa.Connection | None = None
        self._database = database
        self._rest = rest
        self._is_over = threading.Event()
        self._last_said = ""

    def run(self) -> None:
        while not self._is_over.wait(POLL_S):
            if self.has_taken():
                self._rest.end()
                return

    def has_taken(self) -> bool:
        """Try once."""
        try:
            self.taken = self._database.take()
        except StoreFailed as error:
            if error.message != self._last_said:
                log.warning("the database does not answer: %s", error, extra={"action": "database_away"})
                self._last_said = error.message
        return self.taken is not None

    def stop(self) -> None:
        """Return when it does not ask any more."""
        self._is_over.set()
        self.join()


def standby_app() -> Starlette:
    """Return what answers at the HTTP port meanwhile."""

    def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    def anything(_request: Request) -> Response:
        message = "this broker stands by while another one serves: ask that one, or name both addresses"
        return JSONResponse({"error": {"code": "standby", "message": message, "details": {}}}, status_code=503)

    every = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    return Starlette(routes=[Route("/healthz", healthz), Route("/{path:path}", anything, methods=every)])
