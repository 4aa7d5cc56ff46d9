"""What went there and back on links, counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Counted(Protocol):
    """What counts its own questions and bytes: a channel."""

    questions: int
    sent_bytes: int
    received_bytes: int


@dataclass(slots=True)
class Traffic:
    """What was said on a link: questions (calls, uploads and all), and bytes of messages without ZeroMQ's own framing."""

    questions: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    #: How many bytes more it would have been without coding.
    saved_bytes: int = 0

    def add(self, counted: Counted | Traffic) -> None:
        """Add what was counted there."""
        if isinstance(counted, Traffic):
            self.saved_bytes += counted.saved_bytes
        self.questions += counted.questions
        self.sent_bytes += counted.sent_bytes
        self.received_bytes += counted.received_bytes

    def take_from(self, counted: Counted | Traffic) -> None:
        """Take off what was counted there so far, so that `add` later adds what came since."""
        self.questions -= counted.questions
        self.sent_bytes -= counted.sent_bytes
        self.received_bytes -= counted.received_bytes
