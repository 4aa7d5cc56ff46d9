"""What a worker gives up before it meets a stranger's model.

It cannot gain privileges, dies with its agent, leaves no core dump (which would hold tenants' data), opens a bounded number of
files, and works in a scratch folder of its own.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from pathlib import Path

#: prctl(2).
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
#: Sockets of every channel, files of uploads and libraries.
MAX_FILES = 4096


def confine(scratch_dir: Path) -> None:
    """Confine this process. Raises OSError where the kernel does not let it."""
    scratch_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chdir(scratch_dir)
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_DUMPABLE, 0), (_PR_SET_PDEATHSIG, int(signal.SIGKILL))):
        if libc.prctl(option, value, 0, 0, 0) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"prctl({option}) failed: {os.strerror(code)}")
