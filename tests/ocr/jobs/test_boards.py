"""What every board promises: the same tests for the one in memory and the one over Redis."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from gpupool_ocr.jobs.board import Board, QueueAway, QueueFull
from gpupool_ocr.jobs.embedded import EmbeddedBoard
from gpupool_ocr.jobs.job import Job, Outcome, Taken
from gpupool_ocr.jobs.redis_board import RedisBoard
from gpupool_ocr.jobs.redis_link import connect
from gpupool_ocr.jobs.workers import Workers

DONE = Outcome(status=200, body=b'{"a":1}', instance="i")


def job(name: str, key: str | None = None, tenant: str = "t") -> Job:
    return Job(id=name, tenant=tenant, bid="b", tid="text", name="p.png", trace="x", submitted=0.0, idempotency_key=key)


def eventually(holds: Callable[[], bool], within_s: float = 15.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def taken_by(board: Board) -> Taken:
    taken = board.take(5.0)
    assert taken is not None
    return taken


@pytest.fixture(params=["embedded", "redis"])
def board(request: pytest.FixtureRequest) -> Iterator[Board]:
    if request.param == "embedded":
        made: Board = EmbeddedBoard(max_waiting=3)
    else:
        made = RedisBoard(connect(request.getfixturevalue("redis_url")), "one", max_waiting=3, claim_s=0.3)
    yield made
    made.close()


def test_a_job_is_handed_out_once_and_answered_once(board: Board) -> None:
    board.submit(job("a"), b"content")
    taken = taken_by(board)
    assert (taken.job, taken.content, taken.delivery) == (job("a"), b"content", 1)
    assert board.take(0.01) is None
    assert board.finish(taken, DONE)
    view = board.find("a", "t")
    assert view is not None
    assert (view.state, view.outcome) == ("done", DONE)
    assert board.take(0.01) is None


def test_jobs_are_handed_out_in_the_order_they_came(board: Board) -> None:
    for name in "abc":
        board.submit(job(name), b"")
    assert [taken_by(board).job.id for _ in range(3)] == ["a", "b", "c"]


def test_whoever_listens_hears_the_answer_also_when_it_was_there_before(board: Board) -> None:
    heard: list[Outcome] = []
    board.submit(job("a"), b"")
    stop = board.listen("a", heard.append)
    board.finish(taken_by(board), DONE)
    eventually(lambda: heard == [DONE])
    stop()
    board.listen("a", heard.append)()
    eventually(lambda: heard == [DONE, DONE])


def test_nobody_hears_who_has_stopped_listening(board: Board) -> None:
    heard: list[Outcome] = []
    board.submit(job("a"), b"")
    board.listen("a", heard.append)()
    second: list[Outcome] = []
    board.listen("a", second.append)
    board.finish(taken_by(board), DONE)
    eventually(lambda: second == [DONE])
    assert heard == []


def test_a_second_request_of_one_key_is_the_first_job(board: Board) -> None:
    assert board.submit(job("a", key="k"), b"1") == "a"
    assert board.submit(job("b", key="k"), b"2") == "a"
    assert board.submit(job("c", key="k", tenant="other"), b"3") == "c"
    assert {taken_by(board).content for _ in range(2)} == {b"1", b"3"}
    assert board.take(0.01) is None


def test_another_tenants_job_is_not_there(board: Board) -> None:
    board.submit(job("a"), b"")
    assert board.find("a", "other") is None
    assert board.find("nothing", "t") is None


def test_more_than_may_wait_is_refused_with_the_numbers(board: Board) -> None:
    for name in "abc":
        board.submit(job(name), b"")
    with pytest.raises(QueueFull, match=r"3 documents.*limit"):
        board.submit(job("d"), b"")


def test_a_job_given_back_is_handed_out_again(board: Board) -> None:
    board.submit(job("a"), b"content")
    board.give_back(taken_by(board))
    assert taken_by(board).content == b"content"


def test_callers_that_wait_for_a_job_get_it_when_it_comes(board: Board) -> None:
    got: list[Taken | None] = []
    waiter = threading.Thread(target=lambda: got.append(board.take(5.0)))
    waiter.start()
    board.submit(job("a"), b"")
    waiter.join(10)
    assert [one.job.id for one in got if one] == ["a"]


def test_workers_answer_everything_and_tell_of_it_once(board: Board) -> None:
    told: list[str] = []
    read = lambda taken: Outcome(status=200, body=taken.content)  # noqa: E731
    workers = Workers(board, read, lambda taken, why: DONE, 2, told=lambda job, outcome: told.append(job.id))
    workers.start()
    names = [f"j{number}" for number in range(12)]
    for name in names:
        eventually(lambda: submitted(board, name))  # noqa: B023 - called at once
    eventually(lambda: sorted(told) == sorted(names))
    workers.stop(5)
    for name in names:
        view = board.find(name, "t")
        assert view is not None
        assert view.outcome == Outcome(status=200, body=name.encode())


def submitted(board: Board, name: str) -> bool:
    try:
        board.submit(job(name), name.encode())
    except QueueFull:
        return False
    return True


def test_a_job_whose_worker_is_silent_goes_to_another_and_only_the_first_answer_counts(redis_url: str) -> None:
    one, two = (RedisBoard(connect(redis_url), name, claim_s=0.3) for name in ("one", "two"))
    one.submit(job("a"), b"content")
    lost = taken_by(one)
    claimed = taken_by(two)
    assert (claimed.job.id, claimed.delivery, claimed.content) == ("a", 2, b"content")
    assert two.finish(claimed, DONE)
    assert two.finish(claimed, DONE), "an answer told again because the reply was lost is still the first"
    assert not one.finish(lost, Outcome(status=500, body=b""))
    view = one.find("a", "t")
    assert view is not None
    assert view.outcome == DONE
    one.close()
    two.close()


def test_a_worker_that_renews_keeps_its_job(redis_url: str) -> None:
    one, two = (RedisBoard(connect(redis_url), name, claim_s=0.4) for name in ("one", "two"))
    one.submit(job("a"), b"")
    held = taken_by(one)
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        one.renew(held)
        assert two.take(0.1) is None
    assert one.finish(held, DONE)
    one.close()
    two.close()


def test_a_document_that_kills_its_workers_is_refused_after_three(redis_url: str) -> None:
    board = RedisBoard(connect(redis_url), "one", claim_s=0.05)
    board.submit(job("a"), b"")
    for _ in range(3):
        taken_by(board)
    refused = Outcome(status=500, body=b"no more")
    workers = Workers(board, lambda taken: DONE, lambda taken, why: refused, 1)
    workers.start()
    eventually(lambda: (view := board.find("a", "t")) is not None and view.outcome == refused)
    workers.stop(5)
    board.close()


def test_answers_outlive_a_redis_that_is_gone_for_a_while(server, redis_url: str) -> None:  # type: ignore[no-untyped-def]
    """The worker keeps its answer until Redis is back, and whoever listens hears it then."""
    board = RedisBoard(connect(redis_url), "one")
    going, finish = threading.Event(), threading.Event()

    def read(taken: Taken) -> Outcome:
        going.set()
        assert finish.wait(20)
        return DONE

    workers = Workers(board, read, lambda taken, why: DONE, 1)
    heard: list[Outcome] = []
    board.submit(job("a"), b"")
    board.listen("a", heard.append)
    workers.start()
    assert going.wait(10)
    client = connect(redis_url)
    client.config_set("appendonly", "yes")
    eventually(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0)
    client.close()
    server.stop()
    finish.set()
    with pytest.raises(QueueAway):
        board.submit(job("b"), b"")
    server.start("--save", "", "--appendonly", "yes")
    eventually(lambda: heard == [DONE])
    workers.stop(5)
    board.close()


def test_the_number_of_workers_is_changed_while_they_work() -> None:
    board, going = EmbeddedBoard(), threading.Event()
    reading: set[str] = set()

    def read(taken: Taken) -> Outcome:
        reading.add(taken.job.id)
        assert going.wait(20)
        reading.discard(taken.job.id)
        return DONE

    workers = Workers(board, read, lambda taken, why: DONE, 1)
    for number in range(8):
        board.submit(job(f"j{number}"), b"")
    workers.start()
    eventually(lambda: len(reading) == 1)
    workers.resize(3)
    eventually(lambda: len(reading) == workers.busy == workers.threads == 3)
    workers.resize(1)
    going.set()
    eventually(lambda: all((view := board.find(f"j{n}", "t")) and view.state == "done" for n in range(8)))
    eventually(lambda: sum(thread.name.startswith("ocr-page-") for thread in threading.enumerate()) == 1)
    workers.resize(2)
    board.submit(job("last"), b"")
    eventually(lambda: (view := board.find("last", "t")) is not None and view.state == "done")
    workers.stop(5)
    assert not any(thread.name.startswith("ocr-page-") for thread in threading.enumerate())
