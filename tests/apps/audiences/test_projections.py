"""Events into rows and entries: pure, and the same whatever the batches."""

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.audiences.tags import NOW_MS, Tag, a_tag, encoded, instant, received
from penstock.apps.audiences.events import TagRecorded
from penstock.apps.audiences.events.spelling import spell
from penstock.apps.audiences.events.times import parse_tag
from penstock.apps.audiences.ingest import record_tag
from penstock.apps.audiences.projections import (
    RETENTION_MINUTES,
    TAGS,
    Reached,
    TagRow,
    aggregates,
    gauges,
    newest_tag_ms,
    oldest_partition,
    profile_entries,
    profile_group,
    profiles,
    tag_rows,
    within,
)
from penstock.apps.audiences.settings import Settings
from penstock.core.edge.knowing import Knowledge
from penstock.core.errors import PenstockError
from penstock.core.projection import Record, Row
from penstock.core.state import Entry
from support.records import records

CASES = sorted((Path(__file__).parent / "cases").glob("*.json"))
FIRST_OFFSET = 100
ALWAYS = Knowledge(Settings(max_future_skew_hours=0.0), None)
DAY_MS = 86_400_000
START = 1_646_092_800_000
codec = TAGS.codec()


def event_of(tag: Tag) -> TagRecorded:
    (event,) = record_tag(received(encoded(tag)), ALWAYS).events
    assert isinstance(event, TagRecorded)
    return event


def offsets_of(events: list[TagRecorded]) -> range:
    return range(FIRST_OFFSET, FIRST_OFFSET + len(events))


def recorded(events: list[TagRecorded], first: int = FIRST_OFFSET) -> list[Record[TagRecorded]]:
    return records(events, range(first, first + len(events)), [NOW_MS] * len(events))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_au_62_tags_become_these_rows(path: Path) -> None:
    case = json.loads(path.read_text())
    events = [event_of(a_tag(**changes)) for changes in case["tags"]]
    times = case.get("taken_ms", [NOW_MS] * len(events))
    made = tag_rows(records(events, offsets_of(events), times), case["carry"])
    assert json.loads(msgspec.json.encode(made.rows)) == case["rows"]
    assert (made.carry, made.skipped) == (tuple(case["reached"]), case["skipped"])


# -- batches --------------------------------------------------------------------------------------

minutes = st.integers(0, 3 * RETENTION_MINUTES)
streams = st.lists(
    st.builds(
        lambda minute, millisecond, action, cookie: a_tag(
            time=instant(START + minute * 60_000 + millisecond), action=action, cookie=cookie
        ),
        minutes | st.sampled_from([0, RETENTION_MINUTES, RETENTION_MINUTES + 1]),
        st.sampled_from([0, 1, 59_999]),
        st.sampled_from(["VIEW", "BUY"]),
        st.sampled_from(["a", "b"]),
    ),
    max_size=12,
).map(lambda tags: [event_of(tag) for tag in tags])
cuts = st.sets(st.integers(1, 11), max_size=4).map(sorted)


def in_batches(
    events: list[TagRecorded], cuts: list[int], times_ms: list[int] | None = None
) -> tuple[list[Row], Any, int]:
    """With what was reached, and how many were skipped."""
    times_ms = times_ms or [NOW_MS] * len(events)
    rows: list[Row] = []
    carry, skipped = None, 0
    bounds = [0, *(cut for cut in cuts if cut < len(events)), len(events)]
    for start, end in pairwise(bounds):
        part = records(events, offsets_of(events), times_ms)[start:end]
        made = tag_rows(part, carry)
        rows.extend(made.rows)
        carry, skipped = made.carry, skipped + made.skipped
    return rows, carry, skipped


def inside(rows: list[Row], reached: Reached | None) -> list[Row]:
    oldest = (reached.logical_minute if reached else 0) - RETENTION_MINUTES
    return [row for row in rows if isinstance(row, TagRow) and row.minute >= oldest]


@given(events=streams, cuts=cuts)
def test_au_80_batches_make_no_difference_inside_the_retention(
    events: list[TagRecorded], cuts: list[int]
) -> None:
    whole, reached, _ = in_batches(events, [])
    parts, again, _ = in_batches(events, cuts)
    assert reached == again
    assert inside(parts, reached) == inside(whole, reached)


@given(events=streams, cuts=cuts)
def test_au_83_everything_since_a_day_before_the_newest_tag_is_there(
    events: list[TagRecorded], cuts: list[int]
) -> None:
    rows, reached, skipped = in_batches(events, cuts)
    kept = {row.log_offset for row in rows}
    newest_ms = max((event.time_ms for event in events), default=0)
    for event, offset in zip(events, offsets_of(events), strict=True):
        if event.time_ms >= newest_ms - DAY_MS:
            assert offset in kept
    assert skipped == len(events) - len(rows)
    assert reached == ((newest_ms // 60_000,) * 2 if events else None)


@given(events=streams)
def test_au_62_a_row_carries_what_is_counted_summed_and_filtered(events: list[TagRecorded]) -> None:
    rows, _, _ = in_batches(events, [])
    for row in rows:
        assert isinstance(row, TagRow)
        event = events[row.log_offset - FIRST_OFFSET]
        assert row.minute * 60_000 <= event.time_ms < (row.minute + 1) * 60_000
        assert (row.action, row.origin, row.price) == (event.action, event.origin, event.price)
        assert (row.brand_id, row.category_id) == (event.brand_id, event.category_id)


def test_au_85_a_late_tag_is_skipped_and_counted_but_stays_in_the_profile() -> None:
    events = [event_of(a_tag(time="2022-03-03T00:00:00Z")), event_of(a_tag())]
    made = tag_rows(recorded(events), None)
    assert (len(made.rows), made.skipped) == (1, 1)
    assert len(profile_entries(recorded(events))) == 2


def test_au_85_the_newest_tag_of_the_batches_before_decides() -> None:
    events = [event_of(a_tag(time="2022-03-01T00:00:00Z"))]
    minute = events[0].time_ms // 60_000
    day, more = (Reached(at, at) for at in (minute + RETENTION_MINUTES, minute + 1_441))
    assert tag_rows(recorded(events), day).skipped == 0
    late = tag_rows(recorded(events), more)
    assert (late.rows, late.carry, late.skipped) == ([], more, 1)


def test_au_80_no_tags_make_no_rows_and_keep_what_was_known() -> None:
    assert tag_rows([], None) == ([], None, 0)
    assert tag_rows([], Reached(7, 8)) == ([], Reached(7, 8), 0)


# -- retention ------------------------------------------------------------------------------------


@given(newest=st.integers(-10_000_000, 100_000_000), minute=st.integers(-3_000, 3_000))
def test_au_83_only_partitions_wholly_behind_the_retention_may_go(newest: int, minute: int) -> None:
    bound = oldest_partition([newest, newest + 9_000])
    assert bound is not None
    at = newest - RETENTION_MINUTES + minute
    partition = int(at / 60)  # towards zero, as the table's partition key divides
    if partition < bound:
        assert at < newest - RETENTION_MINUTES


def test_au_83_nothing_may_go_before_there_is_a_tag() -> None:
    assert oldest_partition(None) is None
    assert (gauges(None), newest_tag_ms(None)) == ({}, None)


def test_au_111_the_newest_tag_and_the_horizon_are_reported_in_seconds() -> None:
    assert newest_tag_ms([27_434_880, 27_434_890]) == 1_646_093_400_000
    assert gauges([27_434_880, 27_434_890]) == {
        "audiences.newest_tag_seconds": 1_646_093_400.0,
        "audiences.retention_horizon_seconds": 1_646_006_400.0,
    }


# -- profiles ------------------------------------------------------------------------------------


def by_group(entries: list[Entry]) -> dict[bytes, list[bytes]]:
    """As the state gives them back: by group, in the order of the sort keys."""
    groups: dict[bytes, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.group].append(entry)
    return {
        group: [entry.value for entry in sorted(found, key=lambda e: e.sort)]
        for group, found in groups.items()
    }


@given(events=streams)
def test_au_46_entries_sort_newest_first_and_of_equal_times_the_later_accepted(
    events: list[TagRecorded],
) -> None:
    groups = by_group(profile_entries(recorded(events)))
    for cookie in ("a", "b"):
        for action in ("VIEW", "BUY"):
            mine = [event for event in events if (event.cookie, event.action) == (cookie, action)]
            expected = [
                spell(event)
                for _, event in sorted(enumerate(mine), key=lambda p: (-p[1].time_ms, -p[0]))
            ]
            assert groups.get(profile_group(cookie, action), []) == expected


@given(
    times=st.lists(
        st.sampled_from([-62_135_596_800_000, -1, 0, 1, START, 253_402_300_799_999]), min_size=2
    )
)
def test_au_46_the_order_holds_for_every_time_that_can_be_spelled(times: list[int]) -> None:
    event = event_of(a_tag())
    events = [msgspec.structs.replace(event, time_ms=time) for time in times]
    entries = profile_entries(recorded(events, 2**40))
    assert len({entry.sort for entry in entries}) == len(entries)
    newest_first = sorted(entries, key=lambda entry: entry.sort)
    found = [parse_tag(msgspec.json.decode(entry.value)["time"])[0] for entry in newest_first]
    spelled = [time - time % 1000 for time in times] if event.fraction_digits == 0 else times
    assert found == sorted(spelled, reverse=True)


@given(
    events=streams,
    start=st.sampled_from([-1, 0, 1, 59_999, RETENTION_MINUTES * 60_000]),
    length=st.sampled_from([0, 1, 2, 60_000, RETENTION_MINUTES * 60_000 + 1]),
)
def test_au_44_a_range_takes_its_start_and_leaves_its_end(
    events: list[TagRecorded], start: int, length: int
) -> None:
    start_ms = START + start
    end_ms = start_ms + length
    entries = sorted(profile_entries(recorded(events)), key=lambda e: e.sort)
    expected = sorted(
        (
            (-event.time_ms, -offset, spell(event))
            for event, offset in zip(events, offsets_of(events), strict=True)
            if start_ms <= event.time_ms < end_ms
        ),
    )
    found = within([(entry.sort, entry.value) for entry in entries], start_ms, end_ms)
    assert found == [value for _, _, value in expected]


@given(events=streams, cut=st.integers(0, 12))
def test_au_46_batches_make_no_difference_to_entries(events: list[TagRecorded], cut: int) -> None:
    whole = recorded(events)
    separate = [entry for part in (whole[:cut], whole[cut:]) for entry in profile_entries(part)]
    assert separate == profile_entries(whole)


@given(left=st.tuples(st.text(), st.booleans()), right=st.tuples(st.text(), st.booleans()))
def test_au_42_cookies_and_actions_never_share_a_group(
    left: tuple[str, bool], right: tuple[str, bool]
) -> None:
    groups = [profile_group(cookie, "VIEW" if view else "BUY") for cookie, view in (left, right)]
    assert (groups[0] == groups[1]) is (left == right)


def test_au_26_both_views_read_the_same_topic() -> None:
    assert profiles.topic is aggregates.topic


@given(payload=st.binary(max_size=60))
def test_au_26_any_stored_bytes_are_an_event_or_said_to_be_none(payload: bytes) -> None:
    try:
        assert isinstance(codec.decode(payload), TagRecorded)
    except PenstockError as error:
        assert str(error)  # noqa: PT017 - either outcome is right, nothing else is


def test_au_48_an_event_survives_its_encoding() -> None:
    for product in (0, 2**63 - 1, "12486", "\0é😀"):
        event = event_of(a_tag(product_id=product))
        assert codec.decode(codec.encode(event)) == event
