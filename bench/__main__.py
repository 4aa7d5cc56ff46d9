"""Every benchmark this machine can run, one after the other: `make bench`, or `python -m bench [NAME...]`."""

from __future__ import annotations

import importlib
import sys
import time

#: Name and arguments of each, in the order they are run; short settings, so that the whole takes minutes.
BENCHES = {
    "client": ["--rounds", "3"],
    "ocr": ["--pages", "6", "--rounds", "3"],
    "ocr_accuracy": [],
    "ocr_fields": ["--documents", "21"],
    "ocr_service": ["--callers", "8", "--requests", "24"],
    "ocr_cases": ["--local", "--requests", "16", "--rounds", "2"],
    "ocr_faults": ["--local"],
    "ocr_tuning": ["--pages", "200", "--replay", "60", "--epochs", "20"],
    "share": ["--seconds", "10"],
    "lone": ["--rounds", "3", "--seconds", "2"],
    "placement": ["--memory", "--scale", "10000"],
    "month": ["--tenants", "8", "--devices", "8"],
}


def main() -> None:
    names = sys.argv[1:] or list(BENCHES)
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        sys.exit(f"there is no benchmark {unknown[0]!r}; there are: {', '.join(BENCHES)}")
    for name in names:
        print(f"\n━━ bench.{name} ━━", flush=True)
        start = time.monotonic()
        sys.argv = [name, *BENCHES[name]]
        importlib.import_module(f"bench.{name}").main()
        print(f"({time.monotonic() - start:.0f} s)")


if __name__ == "__main__":
    main()
