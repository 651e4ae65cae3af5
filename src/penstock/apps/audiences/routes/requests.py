"""What the two queries ask for: parameters, read strictly (AU-08 to AU-13, AU-40 to AU-70)."""

import re
from typing import Literal, NamedTuple
from urllib.parse import unquote

from penstock.apps.audiences.events import BUY, VIEW, WORD_BYTES_MAX
from penstock.apps.audiences.events.times import parse_end
from penstock.apps.audiences.projections import PROFILE_DEPTH
from penstock.apps.audiences.queries import AggregateFilter
from penstock.core.errors import Rejected

FILTERS = ("origin", "brand_id", "category_id")
RANGE_MINUTES_MAX = 10

Aggregate = Literal["count", "sum_price"]

_AGGREGATES: dict[str, Aggregate] = {
    "COUNT": "count",
    "count": "count",
    "SUM_PRICE": "sum_price",
    "sum_price": "sum_price",
}
_CODES = {"time_range": "bad_range", "action": "bad_action", "limit": "bad_limit"}
_LIMIT = re.compile(r"\d{1,10}", re.ASCII)
LIMIT_MAX = 2**31 - 1
_MINUTE_MS = 60_000


def _known(*names: str) -> re.Pattern[str]:
    """Matches parameters of these names, however these are percent-encoded, behind an ampersand.

    Others cost a look at two characters: there may be many, and they are ignored.
    """
    first, second = ({name[at] for name in names} for at in range(2))
    spelled = ("".join(f"(?:{c}|(?i:%{ord(c):02x}))" for c in name) for name in names)
    return re.compile(
        f"&(?=[%{''.join(sorted(first))}][%567{''.join(sorted(second))}])"
        f"({'|'.join(spelled)})(?:=([^&]*))?(?![^&])"
    )


_OF_PROFILES = _known("time_range", "limit")
_OF_AGGREGATES = _known("time_range", "action", "aggregates", *FILTERS)


class ProfileRequest(NamedTuple):
    cookie: str
    start_ms: int
    end_ms: int
    limit: int


class AggregatesRequest(NamedTuple):
    wanted: AggregateFilter
    filters: dict[str, str]
    """Those that were given, in the order of `FILTERS`."""
    aggregates: list[Aggregate]
    """In the order of the request."""


def profile_request(cookie: str, query: bytes) -> ProfileRequest:
    if len(cookie.encode()) > WORD_BYTES_MAX:
        raise Rejected(f"a cookie has at most {WORD_BYTES_MAX} bytes", code="bad_field")
    parameters = _parameters(query, _OF_PROFILES)
    start, end = _range(parameters, whole_seconds=False)
    return ProfileRequest(cookie, start, end, _limit(parameters))


def aggregates_request(query: bytes) -> AggregatesRequest:
    parameters = _parameters(query, _OF_AGGREGATES)
    start, end = _range(parameters, whole_seconds=True)
    if start % _MINUTE_MS or end % _MINUTE_MS:
        raise Rejected("both ends of time_range must be whole minutes", code="range_unaligned")
    if end - start > RANGE_MINUTES_MAX * _MINUTE_MS:
        raise Rejected(
            f"time_range spans at most {RANGE_MINUTES_MAX} minutes", code="range_too_long"
        )
    action = _single(parameters, "action")
    if action not in (VIEW, BUY):
        raise Rejected(_wanted("action", action, "VIEW or BUY"), code="bad_action")
    filters = _filters(parameters)
    wanted = AggregateFilter(start // _MINUTE_MS, end // _MINUTE_MS, action, **filters)
    return AggregatesRequest(wanted, filters, _aggregates(parameters))


def _parameters(query: bytes, known: re.Pattern[str]) -> dict[str, list[str]]:
    """The known ones, their values as they were sent (AU-13)."""
    try:
        text = query.decode()
    except UnicodeDecodeError as error:
        raise Rejected(f"the query string is not UTF-8: {error}", code="bad_field") from None
    parameters: dict[str, list[str]] = {}
    for name, value in known.findall("&" + text):
        parameters.setdefault(unquote(name), []).append(value)
    return parameters


def _decoded(name: str, value: str) -> str:
    """As forms are (AU-12)."""
    try:
        return unquote(value.replace("+", " "), errors="strict")
    except UnicodeDecodeError as error:
        raise Rejected(f"{name} is not UTF-8: {error}", code="bad_field") from None


def _single(parameters: dict[str, list[str]], name: str) -> str | None:
    values = parameters.get(name)
    if values is None:
        return None
    if len(values) > 1:
        raise Rejected(f"{name} is given twice", code=_CODES.get(name, "bad_field"))
    return _decoded(name, values[0])


def _wanted(name: str, given: str | None, what: str) -> str:
    """Whether it is missing or misspelt is the first thing its sender wants to know."""
    return f"{name} has to be {what}" if given else f"{name} is required: {what}"


def _range(parameters: dict[str, list[str]], *, whole_seconds: bool) -> tuple[int, int]:
    text = _single(parameters, "time_range")
    form = "YYYY-MM-DDThh:mm:ss" if whole_seconds else "YYYY-MM-DDThh:mm:ss.sss"
    try:
        start_text, end_text = (text or "").split("_")
        start = parse_end(start_text, whole_seconds=whole_seconds)
        end = parse_end(end_text, whole_seconds=whole_seconds)
    except ValueError:
        raise Rejected(
            _wanted("time_range", text, f"two times like {form}, in UTC, joined by an underscore"),
            code="bad_range",
        ) from None
    if start > end:
        raise Rejected("time_range ends before it starts", code="bad_range")
    return start, end


def _limit(parameters: dict[str, list[str]]) -> int:
    text = _single(parameters, "limit")
    if text is None:
        return PROFILE_DEPTH
    if not _LIMIT.fullmatch(text) or int(text) > LIMIT_MAX:
        raise Rejected(f"limit is a whole number from 0 to {LIMIT_MAX}", code="bad_limit")
    return min(int(text), PROFILE_DEPTH)


def _filters(parameters: dict[str, list[str]]) -> dict[str, str]:
    filters: dict[str, str] = {}
    for name in FILTERS:
        value = _single(parameters, name)
        if value == "":
            raise Rejected(f"{name} is empty; leave it out not to filter", code="bad_field")
        if value is not None:
            filters[name] = value
    return filters


def _aggregates(parameters: dict[str, list[str]]) -> list[Aggregate]:
    """One of each, whether a parameter names one or several with commas between."""
    wanted: list[Aggregate] = []
    for value in parameters.get("aggregates", []):
        for word in _decoded("aggregates", value).split(","):
            aggregate = _AGGREGATES.get(word)
            if aggregate is None or aggregate in wanted:
                raise Rejected(
                    "aggregates are COUNT and SUM_PRICE, each once", code="bad_aggregates"
                )
            wanted.append(aggregate)
    if not wanted:
        raise Rejected("aggregates is required: COUNT, SUM_PRICE or both", code="bad_aggregates")
    return wanted
