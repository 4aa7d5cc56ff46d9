"""How the arrays of a history are made again, as a value: what to send in which order.

    entries (oldest first) ──plan──> Batch, Batch, model call, Batch, ...

Every array gets the id it had. An array that only led to others is given back right after its last use, so that the worker holds
no more at a time than it did before.
"""

from __future__ import annotations

from collections.abc import Iterator

from gpupool.arrays.history import Entry, History, Rerun
from gpupool.arrays.queue import Batch
from gpupool_wire.messages import OperationCall


def plan(history: History) -> Iterator[Batch | Entry]:
    """Yield what makes the arrays of a history again: batches of operations, and entries that are calls of models.

    What was lost is left out: see `lost`.
    """
    entries = [entry for entry in history.entries if entry.loss is None]
    last_use = {array_id: entry for entry in entries for array_id in (*entry.held, *entry.results)}
    batch = _first(history, entries)
    dead: list[int] = []
    for entry in entries:
        # A model's call may have failed since this was asked for.
        entry.loss = next((source.loss for source in entry.sources if source.loss), None)
        if entry.loss is not None:
            continue
        if isinstance(entry.what, OperationCall):
            if batch.is_full:
                batch.drops, dead = dead, []
                yield batch
                batch = Batch()
            _append(batch, entry, entry.what, dead)
            dead = []
        else:
            batch.drops = dead
            yield batch
            yield entry
            batch = Batch()
            dead = []
        mentioned = dict.fromkeys((*entry.held, *entry.results))
        dead += [one for one in mentioned if last_use[one] is entry and one not in history.arrays]
    batch.drops = dead
    yield batch


def lost(history: History) -> dict[int, Entry]:
    """Return the arrays that cannot be made again, each with its entry, whose `loss` says why."""
    return {array_id: entry for array_id, entry in history.arrays.items() if entry.loss is not None}


def rerun_of(entry: Entry) -> Rerun:
    """Return the model call that an entry is."""
    if isinstance(entry.what, OperationCall):
        raise TypeError(f"{entry!r} is no call of a model")
    return entry.what


def _first(history: History, entries: list[Entry]) -> Batch:
    """Return a batch that teaches every step there is, and those that are needed once more."""
    needed = {entry.step.step_id: entry.step for entry in entries if entry.step is not None}
    return Batch(steps=list((needed | history.steps).values()), forget_steps=[])


def _append(batch: Batch, entry: Entry, call: OperationCall, dead: list[int]) -> None:
    again = OperationCall(name=call.name, args=call.args, options=call.options, results=call.results, drops=dead)
    batch.operations.append(again)
    batch.origins.append(entry.origin)
    batch.frames += entry.frames
    batch.nbytes += sum(map(len, entry.frames))
