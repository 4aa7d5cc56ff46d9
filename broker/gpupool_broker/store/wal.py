"""Whether SQLite's write-ahead log is whole, before SQLite reads it: it drops what it cannot read without a word.

    header │ frame │ frame │ commit frame │ frame │ commit fra     <── cut in the middle of the last commit: nobody was told of it
    header │ frame │ ~~~~~ │ commit frame │ frame │ commit frame   <── damaged: SQLite would drop both commits, acknowledged ones

The format: sqlite.org/fileformat2.html#walformat. Every frame's checksum continues the one of the frame before, so that each can
be checked on its own, from the checksum that its predecessor carries: all of them at once, a column at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_HEADER, _FRAME_HEADER = 32, 24
#: The last bit of the magic number is the byte order of the checksums.
_MAGIC = 0x377F0682


@dataclass(frozen=True, slots=True, kw_only=True)
class WalState:
    """What SQLite will find in a write-ahead log."""

    #: Frames of the present round that belong to whole commits: what SQLite will read.
    frames: int = 0
    #: Whether something follows them that was to be a commit and is not whole.
    is_cut: bool = False
    #: The first frame (from 1) that is damaged though frames that were written after it are whole; None where there is none.
    damaged_frame: int | None = None


def wal_state(path: Path) -> WalState:
    """Return the state of the log at `path`; that of an empty one where there is none."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return WalState()
    if len(raw) < _HEADER or int.from_bytes(raw[:4]) & ~1 != _MAGIC:
        return WalState(is_cut=bool(raw.strip(b"\0")))
    import numpy as np

    page_bytes = int.from_bytes(raw[8:12])
    frame_bytes = _FRAME_HEADER + page_bytes
    count, rest = divmod(len(raw) - _HEADER, frame_bytes)
    if count == 0:
        return WalState(is_cut=rest > 0)
    words = np.frombuffer(raw, ">u4", count * frame_bytes // 4, offset=_HEADER).reshape(count, -1)
    # Frames of an earlier round, not yet overwritten, carry other salts: they are no part of this log.
    is_present = (words[:, 2:4] == np.frombuffer(raw, ">u4", 2, offset=16)).all(axis=1)
    order = ">u4" if raw[3] & 1 else "<u4"
    ordered = np.frombuffer(raw, order, count * frame_bytes // 4, offset=_HEADER).reshape(count, -1)
    is_whole = is_present & _are_whole(words, ordered, np.frombuffer(raw, ">u4", 2, offset=24))
    return _judge(is_whole, is_present, words[:, 1] != 0, file_goes_on=rest > 0 and bool(is_present.all()))


def _are_whole(words: NDArray[np.uint32], ordered: NDArray[np.uint32], first: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Return for every frame whether its checksum, continued from its predecessor's, is the one it carries."""
    import numpy as np

    carried = words[:, 4:6].astype(np.uint32)
    summed = np.concatenate([ordered[:, :2], ordered[:, 6:]], axis=1).astype(np.uint32)
    sums = _sums(summed, np.vstack([first.astype(np.uint32)[None], carried[:-1]]))
    is_whole: NDArray[np.bool_] = (sums == carried).all(axis=1)
    # Where a frame's checksum itself is damaged, the frame behind it is whole all the same.
    if not is_whole[:-1].all():
        bad = int(np.argmin(is_whole))
        is_whole[bad + 1] |= bool((_sums(summed[bad + 1 : bad + 2], sums[bad : bad + 1]) == carried[bad + 1]).all())
    return is_whole


def _sums(summed: NDArray[np.uint32], seeds: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the checksums (n, 2) of n frames' words (n, m), continued from `seeds` (n, 2)."""
    import numpy as np

    s0, s1 = seeds.T.copy()
    columns = summed.T.copy()
    for even, odd in zip(columns[::2], columns[1::2], strict=True):
        s0 += even + s1
        s1 += odd + s0
    return np.stack([s0, s1], axis=1)


def _judge(
    is_whole: NDArray[np.bool_], is_present: NDArray[np.bool_], is_commit: NDArray[np.bool_], *, file_goes_on: bool
) -> WalState:
    import numpy as np

    whole = len(is_whole) if is_whole.all() else int(np.argmin(is_whole))
    commits = np.flatnonzero(is_commit[:whole])
    read = int(commits[-1]) + 1 if len(commits) else 0
    written = int(is_present.sum())
    later = np.flatnonzero(is_whole[whole:] & is_commit[whole:])
    if len(later):
        return WalState(frames=read, damaged_frame=whole + 1)
    return WalState(frames=read, is_cut=written > read or (file_goes_on and written == len(is_whole)))
