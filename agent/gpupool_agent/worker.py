"""One slice's worker process: `python -m gpupool_agent.worker --fd N`, started by an agent alone.

channel ──Start──> confine ──> device ──> ROUTER bound ──Ready──> serve ──Stop, SIGTERM, end of the channel──> exit 0
                            └──any failure──> Fault, exit 1
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import gc
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType

import zmq

from gpupool_agent.calls import Calls
from gpupool_agent.channel import ChannelClosed, Fault, Ready, Start, WorkerEnd, worker_end
from gpupool_agent.confinement import confine
from gpupool_agent.devices import open_device
from gpupool_agent.devices.base import Account
from gpupool_agent.door import encrypt
from gpupool_agent.models import ModelCache
from gpupool_agent.quantum import Quantum
from gpupool_agent.serving import Server, stopped
from gpupool_wire.addresses import Address
from gpupool_wire.errors import Conflict, GpupoolError, RemoteFault, RemoteProtocolError
from gpupool_wire.limits import CLIENT_LOST_S, MAX_FRAME_BYTES
from gpupool_wire.units import MIB

_log = logging.getLogger(__name__)

#: Messages queued per client in each direction. Every channel has one call in flight; the rest is room for probes not yet read.
RECEIVE_QUEUE = 16
SEND_QUEUE = 256
HEARTBEAT_MS = 1000


def main(arguments: list[str] | None = None) -> int:
    """Serve the slice that arrives on the inherited descriptor; return the exit status."""
    parser = argparse.ArgumentParser(prog="gpupool_agent.worker", description="One slice's worker; started by an agent.")
    parser.add_argument("--fd", type=int, required=True, help="descriptor of the worker's end of its channel")
    channel = worker_end(parser.parse_args(arguments).fd)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        start = channel.receive()
        if not isinstance(start, Start):
            raise RemoteProtocolError(f"the agent's first message is {type(start).__name__}, not Start")  # noqa: TRY301
        server = _set_up(start, channel)
    except ChannelClosed:
        return 0
    except Exception as error:  # noqa: BLE001 - the agent hears of it as a Fault, whatever it is
        _log.exception("the worker cannot start", extra={"action": "start_failed"})
        fault = error if isinstance(error, GpupoolError) else RemoteFault(f"the worker cannot start: {error}")
        with contextlib.suppress(ChannelClosed):
            channel.send(Fault(error=fault.to_info()))
        return 1
    with contextlib.suppress(ChannelClosed):
        server.serve()
    zmq.Context.instance().term()  # waits for the last messages, at most as long as the socket lingers
    return 0


def _set_up(start: Start, channel: WorkerEnd) -> Server:
    confine(Path(start.scratch_dir))
    threads = min(start.threads, _cores()) or _cores()
    device = open_device(start.kind, Account(start.memory_mib * MIB), index=start.device_index, threads=threads)
    router, key = _bind(start)
    quantum = Quantum(channel.send, device.parallel_calls)
    cache = ModelCache(Path(start.cache_dir), start.tenant, start.cache_bytes)
    calls = Calls(device, cache, quantum)
    server = Server(start, device, router, channel, calls, quantum)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        server.stop(stopped())

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    # What is loaded by now stays: the collector need not look at it again, nor stop a call for it.
    gc.collect()
    gc.freeze()
    quantum.start()
    calls.start()
    device.bound()
    port = int(router.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
    channel.send(
        Ready(
            address=Address(start.advertise_host, port, key).url,
            pid=os.getpid(),
            providers=list(device.providers),
            overhead_bytes=device.overhead_bytes,
        )
    )
    return server


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _bind(start: Start) -> tuple[zmq.Socket[bytes], str]:
    """Return the bound socket and its key, if it is encrypted; raise Conflict where no port of the range is free."""
    router: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)
    router.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
    router.setsockopt(zmq.RCVHWM, RECEIVE_QUEUE)
    router.setsockopt(zmq.SNDHWM, SEND_QUEUE)
    router.setsockopt(zmq.LINGER, 0)
    router.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    # Counted from the ping, which goes out up to an interval after the last sign of life.
    router.setsockopt(zmq.HEARTBEAT_TIMEOUT, int(CLIENT_LOST_S * 1000) - HEARTBEAT_MS)
    router.setsockopt(zmq.HEARTBEAT_TTL, int(CLIENT_LOST_S * 1000))
    router.setsockopt(zmq.IPV6, ":" in start.bind_host)
    key = encrypt(router, zmq.curve_keypair()[1]) if start.encrypt else ""
    for port in range(start.port_first, start.port_last + 1):
        try:
            router.bind(Address(start.bind_host, port).zmq)
        except zmq.ZMQError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return router, key
    raise Conflict(f"no port from {start.port_first} to {start.port_last} is free for a worker on {start.bind_host}")


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # Not sys.exit: executors may be inside a call, which the interpreter's teardown would wait for or crash in.
    os._exit(status)
