"""Everything that audiences offers, in one value."""

from collections.abc import Iterable

import msgspec

from penstock.apps.audiences import ingest, interface, projections, routes
from penstock.apps.audiences.events.times import spell_second
from penstock.apps.audiences.settings import Settings
from penstock.core.manifest import Ingest, Manifest, Route

_QUERY_BODY_BYTES_MAX = 1_048_576
_DEMO_TAGS_PER_SECOND = 20


def _compares(settings: Settings) -> bool:
    """A query's body holds the answer that is expected of it (AU-102)."""
    return settings.query_debug


def _demo(turn: int, now_ms: int) -> Iterable[tuple[str, bytes]]:
    """A few shoppers, evenly spread over the second before now."""
    for n in range(_DEMO_TAGS_PER_SECOND):
        step = turn * _DEMO_TAGS_PER_SECOND + n
        second = (now_ms - 1000 + n * 1000 // _DEMO_TAGS_PER_SECOND) // 1000
        tag = {
            "time": f"{spell_second(second)}.{step % 1000:03d}Z",
            "cookie": f"demo-{step * 7 % 50}",
            "country": ("PL", "DE", "FR", "US")[step % 4],
            "device": ("PC", "MOBILE", "TV")[step % 3],
            "action": "BUY" if step % 10 == 0 else "VIEW",
            "origin": f"CAMPAIGN_{step % 5}",
            "product_info": {
                "product_id": step * 13 % 100,
                "brand_id": f"Brand_{step * 13 % 100 % 7}",
                "category_id": ("Shoes", "Trousers", "Hats")[step * 13 % 100 % 3],
                "price": 1_000 + step * 13 % 100 * 50,
            },
        }
        yield "/user_tags", msgspec.json.encode(tag)


manifest = Manifest(
    name="audiences",
    summary="User tags in; profiles of the newest and exact per-minute aggregates out.",
    settings=Settings,
    topics=(projections.TAGS,),
    ingest=(
        Ingest(
            operation="audiences.user_tags",
            paths=("/user_tags",),
            emits=(projections.TAGS,),
            handle=ingest.record_tag,
            body_bytes_max=ingest.TAG_BYTES_MAX,
            summary="Record one tag; 204 once it is durable.",
            interface=interface.TAG,
        ),
        Ingest(
            operation="audiences.user_tags_batch",
            paths=("/user_tags/batch",),
            emits=(projections.TAGS,),
            handle=ingest.record_batch,
            body_bytes_max=ingest.BATCH_BYTES_MAX,
            summary="Record up to 1,000 tags, one JSON object a line; each is judged by itself.",
            interface=interface.BATCH,
        ),
    ),
    projections=(projections.profiles, projections.aggregates),
    routes=(
        Route(
            operation="audiences.user_profiles",
            methods=("POST",),
            paths=("/user_profiles/{cookie}",),
            handle=routes.profile,
            body_bytes_max=_QUERY_BODY_BYTES_MAX,
            reads_body=_compares,
            summary="The newest tags of a cookie within `time_range`, at most `limit` per list.",
            interface=interface.PROFILE,
        ),
        Route(
            operation="audiences.aggregates",
            methods=("POST",),
            paths=("/aggregates",),
            handle=routes.aggregates,
            body_bytes_max=_QUERY_BODY_BYTES_MAX,
            reads_body=_compares,
            summary="Count and sum of prices per minute of `time_range`, by any of three filters.",
            interface=interface.AGGREGATES,
        ),
    ),
    package=__package__,
    demo=_demo,
    counters={
        "audiences.debug_mismatches": "Answers that differ from the one their query expected.",
        "audiences.debug_unparsed": "Expected answers that could not be read.",
    },
    errors={
        "bad_json": "The body is not a JSON object, or not UTF-8.",
        "bad_field": "A member or parameter is missing, mistyped, repeated or out of range.",
        "bad_time": "A tag's time is misspelt, impossible, or too far in the future.",
        "bad_range": "time_range is missing, misspelt, or ends before it starts.",
        "range_unaligned": "An aggregate's range does not start and end on whole minutes.",
        "range_too_long": "An aggregate's range spans more than 10 minutes.",
        "bad_action": "action is not VIEW or BUY.",
        "bad_aggregates": "aggregates is missing, unknown or repeated.",
        "bad_limit": "limit is not a whole number from 0 on.",
        "retention": "The range starts before what aggregates still keep.",
    },
)
