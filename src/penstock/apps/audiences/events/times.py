"""The two spellings of time on this wire, and epoch milliseconds (AU-04 to AU-10).

A tag says `2022-03-01T00:00:00.649Z`, with 0 to 3 digits of fraction, and this is spelled back
exactly. What says the same with up to 9 digits, or with an offset, becomes that: cut to
milliseconds, at `Z`. A range end says the same without a zone. Everything else is refused.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_SECOND = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d", re.ASCII)
"""Newer Pythons would read 24:00:00 as midnight, which could not be spelled back."""
_LONG_FRACTION_OR_OFFSET = re.compile(
    r"(?P<fraction>(?:\.\d{1,3})?)(?:(?<=\.\d{3})\d{1,6})?"
    r"(?:Z|(?P<sign>[+-])(?P<hours>[01]\d|2[0-3]):(?P<minutes>[0-5]\d))",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_FIRST_MS = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
_LAST_MS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
"""Of the years 1 to 9999: others cannot be spelled back."""
_CACHED_SECONDS = 4096
"""Traffic speaks of few seconds at a time."""

_FRACTIONS: dict[str, tuple[int, int]] = {"": (0, 0)} | {
    f".{value:0{digits}d}": (value * 10 ** (3 - digits), digits)
    for digits in (1, 2, 3)
    for value in range(10**digits)
}
"""All 1,111 spellings of a fraction: milliseconds and number of digits. A look-up both checks and
converts, several times faster than any parser."""

_TAG_FRACTIONS = {f"{fraction}Z": value for fraction, value in _FRACTIONS.items()}


def parse_tag(text: str) -> tuple[int, int]:
    """Epoch milliseconds and digits of the fraction, at most 3. Raise `ValueError` (AU-07)."""
    fraction = _TAG_FRACTIONS.get(text[19:])
    if fraction is None:
        return _parse_unusual(text)
    return parse_second(text[:19]) + fraction[0], fraction[1]


def _parse_unusual(text: str) -> tuple[int, int]:
    """With more than three digits of fraction, or an offset. Raise `ValueError`."""
    rest = _LONG_FRACTION_OR_OFFSET.fullmatch(text, 19)
    if rest is None:
        raise ValueError(text)
    milliseconds, digits = _FRACTIONS[rest["fraction"]]
    time_ms = parse_second(text[:19]) + milliseconds
    if rest["sign"]:
        ahead_ms = int(rest["hours"]) * 3_600_000 + int(rest["minutes"]) * 60_000
        time_ms -= ahead_ms if rest["sign"] == "+" else -ahead_ms
    if not _FIRST_MS <= time_ms <= _LAST_MS:
        raise ValueError(text)
    return time_ms, digits


@lru_cache(maxsize=_CACHED_SECONDS)
def parse_second(text: str) -> int:
    """Epoch milliseconds of `YYYY-MM-DDTHH:MM:SS`. Raise `ValueError`."""
    if not _SECOND.fullmatch(text):
        raise ValueError(text)
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND


def parse_end(text: str, *, whole_seconds: bool) -> int:
    """Epoch milliseconds of a range's end. Raise `ValueError` (AU-08 to AU-10)."""
    fraction = _FRACTIONS.get(text[19:])
    if fraction is None or (whole_seconds and fraction[0]):
        raise ValueError(text)
    return parse_second(text[:19]) + fraction[0]


def spell_tag(time_ms: int, fraction_digits: int) -> str:
    """The time as its sender spelled it (AU-06)."""
    text = spell_second(time_ms // 1000)
    if fraction_digits:
        text += f".{time_ms % 1000:03d}"[: fraction_digits + 1]
    return text + "Z"


@lru_cache(maxsize=_CACHED_SECONDS)
def spell_second(epoch_second: int) -> str:
    return (_EPOCH + timedelta(seconds=epoch_second)).isoformat()[:19]
