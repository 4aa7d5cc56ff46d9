"""A pool as a tenant sees it: slices are asked for here."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

from gpupool.control import Control
from gpupool.grant import grant_of
from gpupool.locator import BrokerLocator
from gpupool.settings import broker_url, client_token, wanted_size
from gpupool.slices import Slice
from gpupool_wire.errors import UsageError
from gpupool_wire.limits import ANSWER_S
from gpupool_wire.units import Hold, Policy, parse_compute, parse_memory

E = TypeVar("E", Policy, Hold)


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
        policy: str = Policy.FIXED,
        kind: str | None = None,
        wait: float = 0.0,
        label: str = "",
        hold: str = Hold.ATTACHED,
    ) -> Slice:
        """Ask for a slice and open it: `compute` in per cent of one device, `memory` in MiB or as a text such as "2GiB".

        Where they are not given, GPUPOOL_COMPUTE and GPUPOOL_MEMORY say (25 and 2GiB by default). `policy` is "fixed" or "burst",
        `kind` names the only kind of device wanted ("cuda", "cpu", "null"), `wait` is how many seconds to queue where it does not
        fit now, `hold="held"` makes a slice that outlives this program. Raises UsageError, SliceRefused with the numbers.
        """
        usual_compute, usual_memory = wanted_size()
        compute_pct = usual_compute if compute is None else parse_compute(compute)
        memory_mib = usual_memory if memory is None else parse_memory(memory)
        if wait < 0:
            raise UsageError(f"wait is a number of seconds from 0 on, not {wait}")
        answer = self._control.request_slice(
            compute_pct,
            memory_mib,
            policy=_choice(Policy, policy, "policy"),
            hold=_choice(Hold, hold, "hold"),
            kind=kind,
            wait_s=wait,
            label=label,
        )
        granted = Slice(grant_of(answer), BrokerLocator(self._control), control=self._control, holder=hold == Hold.ATTACHED)
        try:
            granted.link()  # at once: a slice whose holder does not come is freed after seconds
        except BaseException:
            granted.release()
            raise
        return granted

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

    `token` likewise, else GPUPOOL_TOKEN, else that pool's own. Raises PoolUnreachable within `timeout` seconds where nobody
    answers, NotAuthorized where the token is not known.
    """
    control = Control(broker_url(url), client_token(token), timeout_s=timeout)
    control.connect()
    return Pool(control)


def _choice(kind: type[E], value: str, name: str) -> E:
    try:
        return kind(value)
    except ValueError:
        raise UsageError(f"{name} is {' or '.join(repr(str(member)) for member in kind)}, not {value!r}") from None
