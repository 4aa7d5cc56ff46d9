"""What share of the device a slice had lately, from samples of its device time."""

from __future__ import annotations

from collections import deque

#: The window the figure speaks about.
WINDOW_NS = 10_000_000_000


class Share:
    """Samples of (time, device time) of the last ten seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int]] = deque()

    def sample(self, now_ns: int, device_ns: int) -> None:
        """Take note of the device time used in all until now."""
        self._samples.append((now_ns, device_ns))
        while self._samples[0][0] < now_ns - WINDOW_NS:
            self._samples.popleft()

    def achieved_millipct(self, now_ns: int, device_ns: int) -> int:
        """Return the share since the oldest sample, in thousandths of a per cent; 0 before there is one."""
        if not self._samples or now_ns <= self._samples[0][0]:
            return 0
        then_ns, used_ns = self._samples[0]
        return (device_ns - used_ns) * 100_000 // (now_ns - then_ns)
