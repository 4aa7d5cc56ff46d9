"""Which call a lane takes next."""

from __future__ import annotations

from gpupool_ocr.engine.choosing import StepLimits, Ticket, choose

FREE = {"detect": StepLimits(), "recognize": StepLimits(), "orient": StepLimits()}


def ticket(step: str, page: int, number: int = 0, key: object = None) -> Ticket:
    return Ticket(step=step, depth=["detect", "recognize", "orient"].index(step), page=page, number=number, key=key)


WAITING = [ticket("detect", 1), ticket("recognize", 3, 2), ticket("recognize", 2, 1), ticket("recognize", 2, 0)]


def test_while_pages_wait_the_furthest_stage_of_the_oldest_page_goes_first() -> None:
    assert choose(WAITING, {}, FREE, pages_wait=True) == [ticket("recognize", 2, 0)]


def test_near_the_end_detection_goes_first() -> None:
    assert choose(WAITING, {}, FREE, pages_wait=False) == [ticket("detect", 1)]


def test_a_step_that_runs_as_often_as_it_may_leaves_its_lane_to_others() -> None:
    limits = FREE | {"recognize": StepLimits(replicas=1)}
    assert choose(WAITING, {"recognize": 1}, limits, pages_wait=True) == [ticket("detect", 1)]
    assert choose(WAITING[1:], {"recognize": 1}, limits, pages_wait=True) == []


def test_calls_of_one_shape_travel_as_one_whatever_their_page() -> None:
    limits = FREE | {"recognize": StepLimits(batch=3)}
    waiting = [ticket("recognize", page, page, key) for page, key in enumerate(("a", "b", "a", None, "a", "a"))]
    chosen = choose(waiting, {}, limits, pages_wait=True)
    assert [one.page for one in chosen] == [0, 2, 4]
    assert choose([waiting[3]], {}, limits, pages_wait=True) == [waiting[3]]


def test_nothing_waits_nothing_is_chosen() -> None:
    assert choose([], {}, {}, pages_wait=True) == []
