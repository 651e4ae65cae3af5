"""What a reader of brokers remembers of those who say things twice: pure, and bounded."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.log import Append, Origin
from penstock.core.log.kafka import repeats
from penstock.core.log.kafka.repeats import ALONE_MAX, Memory, Said

SOURCE = "tests.fold"


def made(*numbers: int, attempt: bytes = b"") -> list[Said]:
    origin = Origin(SOURCE, 0, numbers, attempt=attempt)
    headers = repeats.headers(Append("tests.a", [b""] * len(numbers), origin=origin))
    found = [repeats.said([("penstock-id", b""), (repeats.HEADER, one)]) for one in headers]
    return [one for one in found if one is not None]


@given(
    begins=st.lists(st.integers(0, 8), min_size=1, max_size=4),
    order=st.lists(st.integers(0, 3), max_size=200),
    kept=st.lists(st.booleans(), max_size=200),
)
def test_however_producers_interleave_the_first_of_each_is_taken_and_none_is_missing(
    begins: Sequence[int], order: Sequence[int], kept: Sequence[bool]
) -> None:
    """Each begins at something that is there already, and goes on without a gap, until it ends;
    and whoever reads may begin anew from what is remembered at any record.
    """
    whole = made(*(n for n in range(12) for _ in range(2)))
    memory, taken, there = Memory(), list[Said](), 0
    at = [0] + [None] * (len(begins) - 1)
    for turn, who in enumerate(order):
        producer = who % len(begins)
        if at[producer] is None:
            at[producer] = min(2 * begins[producer], there)
        place = at[producer] or 0
        if place == len(whole):
            continue
        at[producer], there = place + 1, max(there, place + 1)
        if turn < len(kept) and kept[turn]:
            memory = Memory.of(memory.text)
        if memory.takes(whole[place]):
            taken.append(whole[place])
    assert taken == whole[:there]


def test_attempts_at_one_number_do_not_complete_each_other() -> None:
    memory = Memory()
    first, second = made(1, 1, attempt=b"a"), made(1, 1, 1, attempt=b"b")
    arrived = [first[0], second[0], second[1], first[1], second[2], *made(2, attempt=b"c")]
    assert [memory.takes(one) for one in arrived] == [True, False, False, True, False, True]


def test_partitions_and_sources_count_by_themselves() -> None:
    memory = Memory()
    for other in (Said("a", 0, 5, 0), Said("a", 1, 5, 0), Said("b", 0, 5, 0)):
        assert memory.takes(other)
        assert not memory.takes(other._replace(number=4, nth=9))


def test_of_sources_of_which_nothing_else_comes_the_newest_are_remembered() -> None:
    memory = Memory()
    alone = [Said(f"x/{n}", 0, n, 0, alone=True) for n in range(ALONE_MAX + 1)]
    assert all(memory.takes(one) for one in alone)
    size = len(memory.text)
    assert not memory.takes(alone[-1])
    assert not memory.takes(alone[1])
    assert memory.takes(alone[0]), "it is forgotten"
    assert len(memory.text) == size


def test_what_says_nothing_of_itself_and_what_is_somebody_else_s_is_no_repeat() -> None:
    assert repeats.headers(Append("tests.a", [b"1"])) == ()
    assert repeats.said(None) is None
    assert repeats.said([("penstock-id", b"1")]) is None
    assert repeats.said([(repeats.HEADER, b"\xff of another kind")]) is None
    assert Memory().text == Memory.of("").text == ""
