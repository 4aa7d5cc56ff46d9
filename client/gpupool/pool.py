"""A pool as a tenant sees it: slices are asked for here."""

from __future__ import annotations

from types import TracebackType
from typing import Unpack

from gpupool.control import Control
from gpupool.gang import Gang
from gpupool.grant import grant_of
from gpupool.locator import BrokerLocator
from gpupool.settings import broker_url, client_token
from gpupool.slices import Slice
from gpupool.wishes import Wishes, choice, request_of
from gpupool_wire.errors import UsageError
from gpupool_wire.limits import ANSWER_S
from gpupool_wire.units import Arrange, Hold


class Pool:
    """A connection to a pool's broker. Thread-safe. Slices outlive it: closing it ends none."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def __repr__(self) -> str:
        return f"<Pool at {self.url}, tenant {self.tenant}>"

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The broker's address."""
        return self._control.url

    @property
    def tenant(self) -> str:
        """Who we are to the broker: who is billed, and whose quota counts."""
        return self._control.tenant

    def slice(
        self,
        compute: int | str | None = None,
        memory: int | str | None = None,
        *,
        hold: str = Hold.ATTACHED,
        **more: Unpack[Wishes],
    ) -> Slice:
        """Ask for a slice and open it: `compute` in per cent of one device, `memory` in MiB or as a text such as "2GiB".

        Where they are not given, GPUPOOL_COMPUTE and GPUPOOL_MEMORY say (25 and 2GiB by default). `compute="10..50"` has 10 % at
        any time, and up to 50 % while nobody else wants it. `hold="held"` makes a slice that outlives this program. What else can
        be said is in `Wishes`. Raises UsageError, SliceRefused with the numbers compared, NotAuthorized for too high a priority.
        """
        (granted,) = self._ask(compute, memory, 1, hold, more)
        return granted

    def gang(
        self,
        gpus: int,
        compute: int | str | None = None,
        memory: int | str | None = None,
        *,
        hold: str = Hold.ATTACHED,
        arrange: str = Arrange.PACK,
        **more: Unpack[Wishes],
    ) -> Gang:
        """Ask for slices of `gpus` devices, all or none, each as `slice` takes it; `arrange` them "pack" or "spread" over nodes.

        Raises what `slice` raises.
        """
        if gpus < 1:
            raise UsageError(f"gpus is a number of devices from 1 on, not {gpus}")
        return Gang(self._ask(compute, memory, gpus, hold, more, choice(Arrange, arrange, "arrange")))

    def _ask(
        self,
        compute: int | str | None,
        memory: int | str | None,
        count: int,
        hold: str,
        wishes: Wishes,
        arrange: Arrange = Arrange.PACK,
    ) -> list[Slice]:
        request = request_of(compute, memory, wishes, count=count, hold=choice(Hold, hold, "hold"), arrange=arrange)
        answers = self._control.request_slices(request)
        is_holder = request.hold is Hold.ATTACHED
        slices = [Slice(grant_of(a), BrokerLocator(self._control), control=self._control, holder=is_holder) for a in answers]
        try:
            for granted in slices:
                granted.link()  # at once: a slice whose holder does not come is freed after seconds
        except BaseException:
            for granted in slices:
                granted.release()
            raise
        return slices

    def join(self, slice_id: str) -> Slice:
        """Return a live slice of this tenant, as a guest: its end in this program changes nothing for the slice.

        Raises NotFound or LeaseLost where there is no such slice (any more).
        """
        locator = BrokerLocator(self._control)
        return Slice(locator.locate(slice_id), locator, control=self._control, holder=False)

    def close(self) -> None:
        """Close the connection to the broker. Idempotent; slices live on, and open another where they need one."""
        self._control.close()


def connect(url: str | None = None, token: str | None = None, *, timeout: float = ANSWER_S) -> Pool:
    """Connect to a pool: `url` ("tcp://host:7100"), else GPUPOOL_URL, else the pool that runs on this machine.

    Where brokers stand by for one another, `url` names them all, with commas between; the one that serves is found.

    `token` likewise, else GPUPOOL_TOKEN, else that pool's own. Raises PoolUnreachable within `timeout` seconds where nobody
    answers, NotAuthorized where the token is not known.
    """
    control = Control(broker_url(url), client_token(token), timeout_s=timeout)
    control.connect()
    return Pool(control)
