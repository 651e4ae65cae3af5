"""Instants on the wire: what is accepted is spelled back, in one zone and to the millisecond, and
everything else is refused."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.apps.audiences.events.times import parse_end, parse_tag, spell_second, spell_tag

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SPELLED = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?"
    r"(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))",
    re.ASCII,
)

instants = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59))  # noqa: DTZ001 - UTC
fractions = st.sampled_from(("", ".")).flatmap(
    lambda dot: st.just("") if not dot else st.from_regex(r"\.[0-9]{1,3}", fullmatch=True)
)


def independent(text: str) -> int | None:
    """Epoch milliseconds of a tag's time by another way; None when it is not one."""
    found = SPELLED.fullmatch(text)
    if found is None:
        return None
    *numbers, fraction, sign, hours, minutes = found.groups()
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    zone = timezone(-offset if sign == "-" else offset)
    try:
        moment = datetime(*map(int, numbers), tzinfo=zone).astimezone(UTC)  # type: ignore[arg-type, misc] # six numbers
    except (ValueError, OverflowError):
        return None
    milliseconds = int((fraction or "").ljust(3, "0")[:3])
    return (moment - EPOCH) // timedelta(milliseconds=1) + milliseconds


def accepted(text: str) -> int | None:
    try:
        return parse_tag(text)[0]
    except ValueError:
        return None


@given(moment=instants, fraction=fractions)
def test_au_06_an_accepted_time_is_spelled_back_as_it_came(moment: datetime, fraction: str) -> None:
    text = moment.isoformat()[:19] + fraction + "Z"
    assert spell_tag(*parse_tag(text)) == text


@given(moment=instants, fraction=fractions)
def test_au_05_every_number_of_digits_means_the_same_instant(
    moment: datetime, fraction: str
) -> None:
    second = moment.isoformat()[:19]
    value, digits = parse_tag(f"{second}{fraction}Z")
    assert value == independent(f"{second}{fraction}Z")
    assert digits == max(0, len(fraction) - 1)
    padded = "." + fraction[1:].ljust(3, "0")
    assert parse_tag(f"{second}{padded}Z") == (value, 3)


@given(
    moment=instants,
    fraction=st.from_regex(r"(\.[0-9]{1,9})?", fullmatch=True),
    offset=st.from_regex(r"Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]", fullmatch=True),
)
def test_au_07_longer_fractions_and_offsets_are_told_back_in_milliseconds_at_z(
    moment: datetime, fraction: str, offset: str
) -> None:
    text = moment.isoformat()[:19] + fraction + offset
    expected = independent(text)
    assert accepted(text) == expected
    if expected is None:
        assert moment.year in (1, 9999)
        return
    value, digits = parse_tag(text)
    assert digits == min(3, max(0, len(fraction) - 1))
    told = spell_tag(value, digits)
    assert parse_tag(told) == (value, digits)
    assert told[19:] == fraction[:4] + "Z"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2022-03-01T00:00:00.123456Z", "2022-03-01T00:00:00.123Z"),
        ("2022-03-01T00:00:00.9999Z", "2022-03-01T00:00:00.999Z"),
        ("2022-03-01T00:00:00.000000001Z", "2022-03-01T00:00:00.000Z"),
        ("2022-03-01T00:00:00+00:00", "2022-03-01T00:00:00Z"),
        ("2022-03-01T00:00:00-00:00", "2022-03-01T00:00:00Z"),
        ("2022-03-01T00:30:00.5+01:00", "2022-02-28T23:30:00.5Z"),
        ("2022-02-28T23:30:00.1239-05:45", "2022-03-01T05:15:00.123Z"),
        ("1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z"),
        ("0001-01-01T23:59:00+23:59", "0001-01-01T00:00:00Z"),
        ("9999-12-31T00:00:59.9999-23:59", "9999-12-31T23:59:59.999Z"),
    ],
)
def test_au_06_what_is_normalised_is_told_back_so(text: str, told: str) -> None:
    assert spell_tag(*parse_tag(text)) == told


@settings(max_examples=150)
@given(
    text=st.one_of(
        st.text(max_size=30),
        st.from_regex(
            r"2022-03-01T00:00:00(\.[0-9]{0,10})?(Z|z|[+-][0-2][0-9]:?[0-6][0-9])?Z?",
            fullmatch=True,
        ),
        st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,3})?Z"),
        st.from_regex(r"2022-0[0-3]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]Z", fullmatch=True),
    )
)
def test_au_07_exactly_the_well_spelled_possible_times_are_accepted(text: str) -> None:
    assert accepted(text) == independent(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Z",
        "2022-03-01T00:00:00",
        "2022-03-01T00:00:00.649",
        "2022-03-01T00:00:00.Z",
        "2022-03-01T00:00:00,649Z",
        "2022-03-01T00:00:00z",
        "2022-03-01t00:00:00Z",
        "2022-03-01 00:00:00Z",
        "2022-03-01T00:00:00.6490001234Z",
        "2022-03-01T00:00:00.+01:00",
        "2022-03-01T00:00:00+0100",
        "2022-03-01T00:00:00+01",
        "2022-03-01T00:00:00+1:00",
        "2022-03-01T00:00:00+24:00",
        "2022-03-01T00:00:00+00:60",
        "2022-03-01T00:00:00+01:00:00",
        "2022-03-01T00:00:00 +01:00",
        "2022-03-01T00:00:00\u221201:00",
        "2022-03-01T00:00:00+01:00Z",
        "2022-03-01T00:00:60+01:00",
        "2022-02-29T00:00:00+01:00",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "2022-03-01T00:00:00-00:00Z",
        "2022-03-01T00:00:60Z",
        "2016-12-31T23:59:60Z",
        "2022-03-01T24:00:00Z",
        "2022-03-01T00:60:00Z",
        "2022-02-29T00:00:00Z",
        "2022-13-01T00:00:00Z",
        "2022-00-01T00:00:00Z",
        "2022-03-00T00:00:00Z",
        "0000-03-01T00:00:00Z",
        "10000-03-01T00:00:00Z",
        "+022-03-01T00:00:00Z",
        "2022-3-1T00:00:00Z",
        "2022-W09-2T00:00:00Z",
        "20220301T000000Z",
        "2022-03-01T00:00Z",
        "2022-03-01T00:00:00.649Z ",
        " 2022-03-01T00:00:00.649Z",
        "2022-03-01T00:00:00.649Z\n",
        "2022-03-01T00:00:00.649ZZ",
        "٢٠٢٢-03-01T00:00:00Z",
        "2022-03-01T00:00:00.²Z",
        "1646092800649",
    ],
)
def test_au_07_a_misspelt_or_impossible_time_is_refused(text: str) -> None:
    assert accepted(text) is None


def test_au_04_times_before_the_epoch_are_instants_too() -> None:
    assert parse_tag("1969-12-31T23:59:59.5Z") == (-500, 1)
    assert spell_tag(-500, 1) == "1969-12-31T23:59:59.5Z"
    assert spell_second(-1) == "1969-12-31T23:59:59"


@pytest.mark.parametrize("fraction", ["", ".5", ".25", ".125", ".000"])
def test_au_10_a_profile_range_end_has_up_to_three_digits(fraction: str) -> None:
    text = f"2022-03-22T12:15:00{fraction}"
    assert parse_end(text, whole_seconds=False) == independent(text + "Z")


@pytest.mark.parametrize("fraction", ["", ".0", ".00", ".000"])
def test_au_10_an_aggregate_range_end_has_at_most_zeros(fraction: str) -> None:
    text = f"2022-03-22T12:15:00{fraction}"
    assert parse_end(text, whole_seconds=True) == independent(text + "Z")


@pytest.mark.parametrize("fraction", [".001", ".1", ".010", ".0000", "."])
def test_au_10_an_aggregate_range_end_has_no_other_fraction(fraction: str) -> None:
    with pytest.raises(ValueError, match="2022"):
        parse_end(f"2022-03-22T12:15:00{fraction}", whole_seconds=True)


@pytest.mark.parametrize("whole_seconds", [True, False])
@pytest.mark.parametrize("tail", ["Z", ".000Z", "+00:00", ".000+00:00", ".0000", "."])
def test_au_08_a_range_end_has_no_zone(tail: str, *, whole_seconds: bool) -> None:
    with pytest.raises(ValueError, match="2022"):
        parse_end(f"2022-03-22T12:15:00{tail}", whole_seconds=whole_seconds)
