"""What clients are told of each operation of audiences.

The examples are one story, in the order of the manifest: what the first sends, the others answer.
It happens in the hour of every example; see `core.interface.HOUR`.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.apps.audiences import ingest
from penstock.apps.audiences.events.spelling import Tag, Word
from penstock.apps.audiences.projections import PROFILE_DEPTH
from penstock.apps.audiences.routes.answers import Aggregates, Profile
from penstock.apps.audiences.routes.requests import FILTERS, LIMIT_MAX, RANGE_MINUTES_MAX
from penstock.core.interface import Answer, Body, Interface, Parameter

_SECOND = r"\d{4}-\d\d-\d\dT([01]\d|2[0-3]):\d\d:\d\d"
_TAG = b"""{
  "time": "2026-03-01T14:00:00.649Z", "cookie": "ann", "country": "PL", "device": "PC",
  "action": "BUY", "origin": "spring",
  "product_info": {"product_id": 7, "brand_id": "Acme", "category_id": "Shoes", "price": 4999}}"""
_BATCH = (
    b'{"time": "2026-03-01T14:00:31Z", "cookie": "bob", "country": "DE", "device": "MOBILE", '
    b'"action": "BUY", "origin": "spring", "product_info": {"product_id": "SKU-9", '
    b'"brand_id": "Acme", "category_id": "Hats", "price": 1500}}\n'
    b'{"time": "2026-03-01T14:00:32Z", "cookie": "bob", "country": "DE", "device": "MOBILE", '
    b'"action": "BUY", "origin": "spring", "product_info": {"product_id": "SKU-9", '
    b'"brand_id": "Acme", "category_id": "Hats", "price": "1500"}}'
)
_WORDS = "No word has more than 256 bytes of UTF-8; members that nobody knows are ignored."

_KEY = Parameter(
    name="Idempotency-Key",
    place="header",
    shape=Annotated[
        str, Meta(min_length=1, max_length=ingest.IDEMPOTENCY_KEY_MAX, pattern="^[!-~]+$")
    ],
    meaning="Visible ASCII. A repeat of the request under the same key stores nothing and gets the "
    "same answer; the setting `idempotency_hours` says for how long.",
)

TAG = Interface(
    parameters=(_KEY,),
    takes=Body(shape=Tag, media=ingest.TAG_MEDIA, meaning=f"One tag. {_WORDS}", example=_TAG),
    answers=(Answer(status=204, meaning="The tag is durable."),),
    errors=("bad_json", "bad_field", "bad_time"),
)

BATCH = Interface(
    parameters=(_KEY,),
    takes=Body(
        shape=Tag,
        lines=True,
        media=ingest.BATCH_MEDIA,
        meaning=f"A tag a line: at most {ingest.BATCH_TAGS_MAX:,}, and {ingest.BATCH_LINES_MAX:,} "
        f"lines, blank ones among them. {_WORDS}",
        example=_BATCH,
    ),
    answers=(
        Answer(
            meaning="The tags that were accepted are durable; the others are listed.",
            shape=ingest.BatchAnswer,
            example=b'{"accepted":1,"rejected":[{"line":2,"error":"bad_field",'
            b'"field":"product_info.price",'
            b'"message":"Expected `int`, got `str` - at `$.product_info.price`"}]}',
        ),
    ),
    errors=("bad_field",),
)


def _expected(answer: type) -> Body:
    return Body(
        shape=answer,
        required=False,
        meaning="The answer that is expected. With the setting `query_debug` differences are "
        "counted and logged; the answer never depends on it.",
    )


PROFILE = Interface(
    parameters=(
        Parameter(
            name="cookie",
            place="path",
            shape=Word,
            meaning="Whose tags.",
            required=True,
            example=("ann",),
        ),
        Parameter(
            name="time_range",
            shape=Annotated[
                str,
                Meta(
                    pattern=rf"^{_SECOND}(\.\d{{1,3}})?_{_SECOND}(\.\d{{1,3}})?$",
                    examples=["2026-03-01T14:00:00.000_2026-03-01T14:10:00.000"],
                ),
            ],
            meaning="From and to, joined by an underscore; `to` is not in it. Milliseconds, "
            "without `Z`.",
            required=True,
            example=("2026-03-01T14:00:00.000_2026-03-01T14:10:00.000",),
        ),
        Parameter(
            name="limit",
            shape=Annotated[
                int, Meta(ge=0, le=LIMIT_MAX, extra_json_schema={"default": PROFILE_DEPTH})
            ],
            meaning=f"Most tags of each list; above {PROFILE_DEPTH} as {PROFILE_DEPTH}.",
        ),
    ),
    takes=_expected(Profile),
    answers=(
        Answer(
            meaning="What is known of the cookie, which may be nothing.",
            shape=Profile,
            example=b'{"cookie":"ann","views":[],"buys":['
            + msgspec.json.format(_TAG, indent=-1)
            + b"]}",
        ),
    ),
    errors=("bad_field", "bad_range", "bad_limit"),
)

AGGREGATES = Interface(
    parameters=(
        Parameter(
            name="time_range",
            shape=Annotated[
                str,
                Meta(
                    pattern=rf"^{_SECOND}(\.0{{1,3}})?_{_SECOND}(\.0{{1,3}})?$",
                    examples=["2026-03-01T14:00:00_2026-03-01T14:02:00"],
                ),
            ],
            meaning="From and to, joined by an underscore; `to` is not in it. Whole minutes, at "
            f"most {RANGE_MINUTES_MAX}, without `Z`.",
            required=True,
            example=("2026-03-01T14:00:00_2026-03-01T14:02:00",),
        ),
        Parameter(
            name="action",
            shape=Literal["VIEW", "BUY"],
            meaning="Which tags.",
            required=True,
            example=("BUY",),
        ),
        Parameter(
            name="aggregates",
            shape=Annotated[
                list[Literal["COUNT", "SUM_PRICE", "count", "sum_price"]],
                Meta(min_length=1, max_length=2),
            ],
            meaning="What is told of each minute, in this order. Given several times, or once with "
            "commas between; each only once.",
            required=True,
            example=("COUNT", "SUM_PRICE"),
        ),
        *(
            Parameter(
                name=name,
                shape=Annotated[str, Meta(min_length=1)],
                meaning=f"Only tags with this `{name}`.",
                example=("spring",) if name == "origin" else (),
            )
            for name in FILTERS
        ),
    ),
    takes=_expected(Aggregates),
    answers=(
        Answer(
            meaning="Exact for every tag that was accepted a minute ago.",
            shape=Aggregates,
            example=b'{"columns":["1m_bucket","action","origin","count","sum_price"],'
            b'"rows":[["2026-03-01T14:00:00","BUY","spring","2","6499"],'
            b'["2026-03-01T14:01:00","BUY","spring","0","0"]]}',
        ),
    ),
    errors=(
        "bad_field",
        "bad_range",
        "range_unaligned",
        "range_too_long",
        "bad_action",
        "bad_aggregates",
        "retention",
    ),
)
