"""Who hears what the core has decided, once it is stored: agents, clients on the control port, callers of REST.

effect ──> a message to a node · an answer to a client, its lease signed · the result of a future
"""

from __future__ import annotations

from concurrent.futures import Future

from gpupool_broker.core import events as e
from gpupool_broker.core.pool import Pool
from gpupool_broker.core.state import Slice, SliceState
from gpupool_broker.gateway import Gateway, WireCaller
from gpupool_broker.leases import LeaseSigner
from gpupool_wire.errors import Conflict, LeaseLost, RemoteProtocolError
from gpupool_wire.limits import LEASE_S
from gpupool_wire.messages import (
    PROTOCOL_VERSION,
    AgentWelcome,
    Assign,
    BeatAnswer,
    Failed,
    GangGranted,
    Lease,
    Message,
    Pong,
    ReleaseSlice,
    ResizeSlice,
    Revoke,
    Shrink,
    SliceGranted,
    SliceReleased,
    SliceResized,
)


class Teller:
    """Turns effects into messages and results."""

    def __init__(self, gateway: Gateway, signer: LeaseSigner) -> None:
        self._gateway = gateway
        self._signer = signer

    def perform(self, effect: e.Effect, pool: Pool) -> None:
        """Do what an effect says, with slices and nodes as they are in the pool now."""
        match effect:
            case e.AssignSlice():
                self._gateway.tell_node(effect.node, Assign(slice=effect.slice))
            case e.RevokeSlice():
                revoke = Revoke(slice_id=effect.slice_id, epoch=effect.epoch, reason=effect.reason[:512])
                self._gateway.tell_node(effect.node, revoke)
            case e.ShrinkSlice():
                shrink = Shrink(
                    slice_id=effect.slice_id,
                    request_id=effect.request_id,
                    memory_mib=effect.memory_mib,
                    deadline_ms=effect.deadline_ms,
                )
                self._gateway.tell_node(effect.node, shrink)
            case e.AnswerSlice(caller=Future() as future):
                future.set_result(pool.slices[effect.slice_id])
            case e.AnswerGang(caller=Future() as future):
                future.set_result([pool.slices[slice_id] for slice_id in effect.slice_ids])
            case e.AnswerDone(caller=Future() as future):
                future.set_result(effect.value)
            case e.AnswerDone(caller=WireCaller() as caller):
                self._gateway.tell(caller.identity, Pong(call_id=caller.call_id))
            case e.AnswerGang(caller=WireCaller() as caller):
                members = [self._granted(caller.call_id, pool.slices[slice_id], pool) for slice_id in effect.slice_ids]
                granted = GangGranted(call_id=caller.call_id, gang_id=effect.gang_id, members=members)
                self._gateway.tell(caller.identity, granted)
            case e.AnswerNode(caller=Future() as future):
                future.set_result(pool.nodes[effect.node])
            case e.AnswerTenant(caller=Future() as future):
                future.set_result(effect.tenant)
            case e.AnswerEntered(caller=Future() as future):
                future.set_result(None)
            case e.AnswerError(caller=Future() as future):
                future.set_exception(effect.error)
            case e.AnswerSlice(caller=WireCaller() as caller):
                self._gateway.tell(caller.identity, self._slice_message(caller, pool.slices[effect.slice_id], pool))
            case e.AnswerError(caller=WireCaller() as caller):
                self._gateway.tell(caller.identity, Failed(call_id=caller.call_id, error=effect.error.to_info()))
            case e.AnswerBeat(caller=WireCaller() as caller):
                self._gateway.tell(caller.identity, BeatAnswer(seq=effect.seq, lease_ms=int(LEASE_S * 1000)))
            case e.GreetAnew(caller=WireCaller() as caller):
                error = RemoteProtocolError(f"node {effect.node} is not known here any more: greet anew")
                self._gateway.tell(caller.identity, Failed(error=error.to_info()))
            case e.WelcomeAgent(caller=WireCaller() as caller):
                welcome = AgentWelcome(
                    version=PROTOCOL_VERSION,
                    broker="broker",
                    credential=caller.credential,
                    lease_key=self._signer.public_key,
                    slices=list(effect.slices),
                )
                self._gateway.tell(caller.identity, welcome)

    def _slice_message(self, caller: WireCaller, slice_: Slice, pool: Pool) -> Message:
        if caller.asked is ReleaseSlice:
            return SliceReleased(call_id=caller.call_id, slice_id=slice_.slice_id)
        if slice_.state is not SliceState.LIVE:
            kind = Conflict if slice_.state is SliceState.STRANDED else LeaseLost
            error = kind(f"slice {slice_.slice_id} is {slice_.state}: {slice_.reason}", slice_id=slice_.slice_id)
            return Failed(call_id=caller.call_id, error=error.to_info())
        if caller.asked is ResizeSlice:
            return SliceResized(
                call_id=caller.call_id,
                slice_id=slice_.slice_id,
                epoch=slice_.epoch,
                compute_pct=slice_.compute_pct,
                memory_mib=slice_.memory_mib,
            )
        return self._granted(caller.call_id, slice_, pool)

    def _granted(self, call_id: int, slice_: Slice, pool: Pool) -> SliceGranted:
        node = pool.nodes[slice_.node]
        info = node.devices[slice_.device].info
        lease = Lease(
            slice_id=slice_.slice_id,
            epoch=slice_.epoch,
            tenant=slice_.tenant,
            node=slice_.node,
            device=slice_.device,
            compute_pct=slice_.compute_pct,
            memory_mib=slice_.memory_mib,
            policy=slice_.policy,
            hold=slice_.hold,
            client_key=slice_.client_key,
        )
        return SliceGranted(
            call_id=call_id,
            lease=self._signer.sign(lease),
            slice_id=slice_.slice_id,
            epoch=slice_.epoch,
            node=slice_.node,
            device=slice_.device,
            kind=info.kind,
            model=info.model,
            compute_pct=slice_.compute_pct,
            memory_mib=slice_.memory_mib,
            policy=slice_.policy,
            door=node.door,
        )
