"""What a slice had of its device lately, and how long its calls waited for it, from samples."""

from __future__ import annotations

from collections import deque

#: The window the figure speaks about.
WINDOW_NS = 10_000_000_000


class Share:
    """Samples of (time, device time, throttled time) of the last ten seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int, int]] = deque()

    def sample(self, now_ns: int, device_ns: int, throttled_ns: int = 0) -> None:
        """Take note of the device time used, and the time waited for it, in all until now."""
        self._samples.append((now_ns, device_ns, throttled_ns))
        while self._samples[0][0] < now_ns - WINDOW_NS:
            self._samples.popleft()

    def achieved_millipct(self, now_ns: int, device_ns: int) -> int:
        """Return the share since the oldest sample, in thousandths of a per cent; 0 before there is one."""
        if not self._samples or now_ns <= self._samples[0][0]:
            return 0
        then_ns, used_ns, _ = self._samples[0]
        return (device_ns - used_ns) * 100_000 // (now_ns - then_ns)

    def throttled_ns(self, throttled_ns: int) -> int:
        """Return the time waited since the oldest sample, 0 before there is one."""
        return throttled_ns - self._samples[0][2] if self._samples else 0
