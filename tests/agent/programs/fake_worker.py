"""A worker that speaks the channel and executes nothing: it writes what it hears to its log and does what its slice id says.

"...-faults" cannot start, "...-deaf" ignores Stop, "...-slow" becomes ready only when the file `go` appears in its cache folder.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import msgspec

from gpupool_agent.channel import (
    Admit,
    Change,
    Changed,
    ChannelClosed,
    Fault,
    Grant,
    LinkGone,
    Ready,
    Refused,
    Settle,
    Start,
    Stop,
    Use,
    Want,
    worker_end,
)
from gpupool_wire.errors import Conflict, RemoteFault


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    end = worker_end(parser.parse_args().fd)
    start = end.receive()
    assert isinstance(start, Start)
    cache = Path(start.cache_dir)
    (Path(start.scratch_dir) / "used").write_text("scratch")

    def note(text: str) -> None:
        with (cache / f"{start.slice_id}.log").open("a") as log:
            log.write(f"{text}\n")

    note(f"pid {os.getpid()}")
    note(f"environment {' '.join(sorted(os.environ))}")
    if start.slice_id.endswith("-faults"):
        end.send(Fault(error=RemoteFault("the device is on fire").to_info()))
        return
    while start.slice_id.endswith("-slow") and not (cache / "go").exists():
        time.sleep(0.01)
    end.send(Ready(address="tcp://127.0.0.1:1", pid=os.getpid()))
    try:
        while True:
            message = end.receive()
            note(type(message).__name__ + " " + msgspec.json.encode(message).decode())
            match message:
                case Admit(link_id=link_id, holder=holder):
                    if (cache / "leave").exists():
                        end.send(LinkGone(link_id=link_id, holder=holder, reason="left", left=True))
                    if (cache / "work").exists():
                        end.send(Want())
                    if (cache / "die").exists():
                        os._exit(7)
                case Change(memory_mib=memory_mib, seq=seq) if memory_mib < 8:
                    end.send(Refused(error=Conflict("it uses 8 MiB").to_info(), seq=seq))
                case Change(memory_mib=memory_mib) if memory_mib == 9:
                    os._exit(9)
                case Change(compute_pct=compute_pct, memory_mib=memory_mib, seq=seq):
                    end.send(Changed(compute_pct=compute_pct, memory_mib=memory_mib, seq=seq))
                case Grant(seq=seq):
                    end.send(Settle(seq=seq, used_ns=1_000, more=False))
                    end.send(Use(device_ns=1_000, throttled_ns=5, calls=1, memory_bytes=77))
                case Stop():
                    if not start.slice_id.endswith("-deaf"):
                        return
    except ChannelClosed:
        sys.exit(0)


if __name__ == "__main__":
    main()
