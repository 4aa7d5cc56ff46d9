"""Usage on its way to the broker: every nanosecond is reported once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gpupool_agent.core.usage import MAX_ROWS, Holds, UsageBook
from gpupool_wire.codec import encode
from gpupool_wire.limits import MAX_HEADER_BYTES, MAX_MODEL_NAME_CHARS, MAX_TOLD_MODELS
from gpupool_wire.messages import Beat, OpenedModel


def use(book: UsageBook, slice_id: str = "s", device_ns: int = 1, memory_bytes: int = 0, epoch: int = 1) -> None:
    book.used(slice_id, epoch, device_ns=device_ns, throttled_ns=2 * device_ns, calls=1, holds=Holds(memory_bytes))


def test_use_adds_up_until_it_is_reported() -> None:
    book = UsageBook()
    use(book, device_ns=3, memory_bytes=10)
    use(book, device_ns=4, memory_bytes=7, epoch=2)
    (row,) = book.report(1)
    assert (row.slice_id, row.epoch, row.device_ns, row.throttled_ns, row.calls, row.memory_bytes) == ("s", 2, 7, 14, 2, 7)


def test_open_models_are_told_as_they_are_now_also_after_a_report_was_lost() -> None:
    book = UsageBook()
    detector, reader = (OpenedModel(name=name, weight_bytes=9, sessions=1) for name in ("det", "rec"))
    book.used("s", 1, device_ns=1, throttled_ns=0, calls=1, holds=Holds(9, 1, [detector]))
    assert [(row.model_count, row.models) for row in book.report(1)] == [(1, [detector])]
    book.used("s", 1, device_ns=1, throttled_ns=0, calls=1, holds=Holds(18, 2, [detector, reader]))
    book.not_answered()
    assert [(row.model_count, row.models) for row in book.report(2)] == [(2, [detector, reader])]
    book.answered(2)
    book.stand({"s": (1, (50_000, 0))})
    assert [row.models for row in book.report(3)] == [[detector, reader]]


def test_one_report_is_on_its_way_at_a_time() -> None:
    book = UsageBook()
    use(book)
    assert book.report(1)
    use(book)
    assert book.report(2) == []
    book.answered(1)
    assert [row.device_ns for row in book.report(3)] == [1]


def test_an_answer_to_an_earlier_beat_does_not_count() -> None:
    book = UsageBook()
    use(book)
    book.report(5)
    book.answered(4)
    book.not_answered()
    assert [row.device_ns for row in book.report(6)] == [1]


def test_an_unanswered_report_is_repeated_with_what_came_since() -> None:
    book = UsageBook()
    use(book, device_ns=5, memory_bytes=1)
    book.report(1)
    use(book, device_ns=6, memory_bytes=2)
    book.not_answered()
    assert [(row.device_ns, row.memory_bytes) for row in book.report(2)] == [(11, 2)]


def test_what_does_not_fit_one_report_goes_with_the_next() -> None:
    book = UsageBook()
    for number in range(MAX_ROWS + 1):
        use(book, f"s{number}")
    assert len(book.report(1)) == MAX_ROWS
    book.answered(1)
    assert len(book.report(2)) == 1


def test_a_share_is_told_until_it_no_longer_changes() -> None:
    book = UsageBook()
    use(book, device_ns=5, memory_bytes=7)
    book.stand({"s": (1, (500, 7))})
    assert [(row.device_ns, row.achieved_millipct, row.throttled_10s_ms) for row in book.report(1)] == [(5, 500, 7)]
    book.answered(1)
    book.stand({"s": (1, (200, 0))})
    assert [(row.device_ns, row.memory_bytes, row.achieved_millipct) for row in book.report(2)] == [(0, 7, 200)]
    book.answered(2)
    book.stand({"s": (1, (200, 0))})
    assert book.report(3) == []
    book.stand({})
    book.stand({"s": (2, (0, 0))})
    assert book.report(4) == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["use", "report", "answered", "lost"]), st.sampled_from("abc"), st.integers(0, 9))))
def test_nothing_is_lost_or_counted_twice(steps: list[tuple[str, str, int]]) -> None:
    book = UsageBook()
    seq = used = booked = 0
    on_its_way = 0
    for step, slice_id, amount in steps:
        match step:
            case "use":
                use(book, slice_id, device_ns=amount)
                used += amount
            case "report":
                seq += 1
                if rows := book.report(seq):
                    on_its_way = sum(row.device_ns for row in rows)
            case "answered":
                book.answered(seq)
                booked, on_its_way = booked + on_its_way, 0
            case "lost":
                book.not_answered()
                on_its_way = 0
    book.not_answered()
    assert booked + sum(row.device_ns for row in book.report(seq + 1)) == used


def test_the_longest_report_fits_a_header() -> None:
    book = UsageBook()
    longest = OpenedModel(name="模" * MAX_MODEL_NAME_CHARS, weight_bytes=2**40, sessions=1_000)
    for number in range(MAX_ROWS):
        holds = Holds(2**40, 2**20, [longest] * MAX_TOLD_MODELS)
        book.used(f"s-{number:012}", 2**20, device_ns=2**40, throttled_ns=2**40, calls=2**40, holds=holds)
    header, *frames = encode(Beat(seq=2**40, use=book.report(1)))
    assert len(header) <= MAX_HEADER_BYTES
    assert frames == []
