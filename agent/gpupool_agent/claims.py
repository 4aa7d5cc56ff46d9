"""Claims of slices on turns of their devices: given on the broker's word, kept until the slice ends."""

from __future__ import annotations

from collections.abc import Mapping

from gpupool_agent.turns import DeviceTurns
from gpupool_wire.messages import Assignment


class Claims:
    """Which slices have a claim, and on which device. Only the broker's word gives one: it keeps the sum within the device."""

    def __init__(self, turns: Mapping[str, DeviceTurns]) -> None:
        self._turns = turns
        self._devices: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Claims of {len(self._devices)} slices>"

    def begin(self, assignment: Assignment) -> None:
        """Give a slice its claim; one that has it keeps it as it is.

        The claim stays, with what the slice owes, until the slice ends: a worker that dies pays no debts.
        """
        if assignment.slice_id not in self._devices:
            self._devices[assignment.slice_id] = assignment.device
            self._turns[assignment.device].claim(assignment.slice_id, assignment.compute_pct, assignment.policy)
            self._turns[assignment.device].pause(assignment.slice_id, assignment.is_paused)

    def change(self, assignment: Assignment) -> None:
        """Have a claim be of another size or paused, from the next turn on: compute cannot be refused."""
        if assignment.slice_id in self._devices:
            self._turns[assignment.device].resize(assignment.slice_id, assignment.compute_pct, assignment.policy)
            self._turns[assignment.device].pause(assignment.slice_id, assignment.is_paused)

    def end(self, slice_id: str) -> None:
        """The slice has ended. Idempotent."""
        if (device := self._devices.pop(slice_id, None)) is not None:
            self._turns[device].disclaim(slice_id)
