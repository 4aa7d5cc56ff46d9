"""The line in front of the executors."""

from __future__ import annotations

import threading
from typing import Any, cast

from gpupool_agent.call import Call
from gpupool_agent.waiting import Waiting


def calls(*names: str) -> list[Call]:
    """Stand-ins: the line never looks into a call."""

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def __repr__(self) -> str:
            return self.name

    return [cast("Call", Named(name)) for name in names]


def all_of(waiting: Waiting) -> list[Any]:
    return [waiting.get() for _ in range(len(waiting))]


def test_calls_come_out_in_their_order_and_those_put_back_come_first() -> None:
    waiting = Waiting()
    first, second, third = calls("first", "second", "third")
    for call in (first, second, third):
        waiting.put(call)
    assert waiting.get() is first
    taken = waiting.take([second, third])
    waiting.put(first)
    waiting.put_back(taken)
    assert all_of(waiting) == [second, third, first]


def test_those_alike_are_found_and_taken_from_among_the_others() -> None:
    waiting = Waiting()
    red, blue, red_too = calls("red", "blue", "red too")
    for call in (red, blue, red_too):
        waiting.put(call)
    alike = waiting.like(lambda call: repr(call).startswith("red"))
    assert waiting.take(alike) == [red, red_too]
    assert waiting.take(alike) == [], "they are gone"
    assert all_of(waiting) == [blue]


def test_each_call_is_had_once_however_many_take() -> None:
    waiting, total = Waiting(), 2000
    (end,) = calls("end")
    had: list[Call] = []

    def serve() -> None:
        while (call := waiting.get()) is not end:
            had.extend([call, *waiting.take(waiting.like(lambda other: other is not end)[:3])])

    servers = [threading.Thread(target=serve) for _ in range(3)]
    for server in servers:
        server.start()
    put = calls(*map(str, range(total)))
    for call in put:
        waiting.put(call)
    for _ in servers:
        waiting.put(end)
    for server in servers:
        server.join(30)
    assert not any(server.is_alive() for server in servers)
    assert len(had) == total
    assert set(map(id, had)) == set(map(id, put))
