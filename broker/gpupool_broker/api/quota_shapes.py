"""What REST gives of a quota that is tried and not set."""

from __future__ import annotations

from pydantic import BaseModel


class OverShape(BaseModel):
    """An account that would hold more than it may: nothing is taken away, nothing more is given."""

    account: str
    what: list[str]


class QuotaEffectShape(BaseModel):
    """What a quota would change."""

    account: str
    over: list[OverShape]
    #: Projects that may hold more than their tenant then may.
    projects_above: list[str]
    #: Waiting requests that the quota would let pass, and those it would keep out.
    freed: int
    blocked: int
    #: What all tenants together would be guaranteed, and what there is, in per cent of a device.
    guaranteed_pct: int
    offered_pct: int
    #: What the account would hold beyond its guarantee, which others may ask back.
    borrowed_pct: int
