"""The two queries: profiles and aggregates."""

import msgspec

from penstock.apps.audiences import queries
from penstock.apps.audiences.events import BUY, VIEW
from penstock.apps.audiences.events.times import spell_second
from penstock.apps.audiences.projections import (
    PROFILE_DEPTH,
    RETENTION_MINUTES,
    profile_group,
    profiles,
    within,
)
from penstock.apps.audiences.routes.answers import Aggregates
from penstock.apps.audiences.routes.debug import compare, read_aggregates, read_profile
from penstock.apps.audiences.routes.requests import (
    AggregatesRequest,
    ProfileRequest,
    aggregates_request,
    profile_request,
)
from penstock.core.edge import Received, Response
from penstock.core.errors import Gone
from penstock.core.manifest import Context

_encode = msgspec.json.Encoder().encode
_PROFILE = b'{"cookie":%b,"views":[%b],"buys":[%b]}'


async def profile(received: Received, context: Context) -> Response:
    """The newest tags of a cookie within a range (AU-40 to AU-50)."""
    request = profile_request(received.parameters[0], received.query)
    await context.caught_up(profiles.name, context.settings.read_your_write_seconds)
    groups = [profile_group(request.cookie, action) for action in (VIEW, BUY)]
    views, buys = await context.first(profiles.space, groups, PROFILE_DEPTH)
    answer = _PROFILE % (
        _encode(request.cookie),
        _asked_for(views, request),
        _asked_for(buys, request),
    )
    if context.settings.query_debug:
        await compare("user_profiles", read_profile, received, answer, context)
    return Response.json_bytes(answer)


async def aggregates(received: Received, context: Context) -> Response:
    """Count and sum of prices of each minute of a range (AU-60 to AU-73)."""
    request = aggregates_request(received.query)
    found = await queries.aggregates(context, request.wanted)
    _check_retention(request, found)
    rendered = _rendered(request, found)
    answer = _encode(rendered)
    if context.settings.query_debug:
        read = read_aggregates(len(rendered.columns), len(rendered.rows))
        await compare("aggregates", read, received, answer, context)
    return Response.json_bytes(answer)


def _asked_for(stored: list[tuple[bytes, bytes]], request: ProfileRequest) -> bytes:
    """Range first, then the limit (AU-44)."""
    return b",".join(within(stored, request.start_ms, request.end_ms)[: request.limit])


def _check_retention(request: AggregatesRequest, found: queries.Aggregates) -> None:
    """Exact or refused, never silently partial (AU-84)."""
    wanted = request.wanted
    if found.logical_minute is None or wanted.start_minute == wanted.end_minute:
        return
    horizon = found.logical_minute - RETENTION_MINUTES
    if wanted.start_minute < horizon:
        raise Gone(f"aggregates are kept from {spell_second(horizon * 60)} on")


def _rendered(request: AggregatesRequest, found: queries.Aggregates) -> Aggregates:
    wanted = request.wanted
    rows: list[list[str]] = []
    for minute in range(wanted.start_minute, wanted.end_minute):
        count, sum_price = found.minutes.get(minute, (0, 0))
        values = {"count": str(count), "sum_price": str(sum_price)}
        cells = [spell_second(minute * 60), wanted.action, *request.filters.values()]
        rows.append([*cells, *(values[aggregate] for aggregate in request.aggregates)])
    return Aggregates(["1m_bucket", "action", *request.filters, *request.aggregates], rows)
