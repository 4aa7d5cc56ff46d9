"""The process that makes reports: one order on standard input, one answer on standard output."""

from __future__ import annotations

import os
import sys

import msgspec

from gpupool_broker.reports.orders import Answer, FoldUse, Freeze, Make, Tend
from gpupool_broker.reports.works import carry_out


def main() -> None:
    """Carry out one order. It is nobody's hurry: the broker's turns go first."""
    os.nice(5)
    order = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Make | Freeze | Tend | FoldUse)
    answer: Answer = carry_out(order)
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer))


if __name__ == "__main__":
    main()
