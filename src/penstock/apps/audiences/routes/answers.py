"""What the two queries answer."""

from typing import Annotated

import msgspec
from msgspec import Meta

from penstock.apps.audiences.events.spelling import Tag, Word
from penstock.apps.audiences.projections import PROFILE_DEPTH

_Newest = Annotated[
    list[Tag],
    Meta(max_length=PROFILE_DEPTH, description="Newest first; of one time, the last accepted."),
]


class Profile(msgspec.Struct, frozen=True):
    """The newest tags of a cookie."""

    cookie: Word
    views: _Newest
    buys: _Newest


class Aggregates(msgspec.Struct, frozen=True):
    """A table: one row for each minute, also for those without tags."""

    columns: Annotated[
        list[str],
        Meta(
            description="`1m_bucket`, `action`, the filters that were given in the order `origin`, "
            "`brand_id`, `category_id`, then the aggregates in the order they were asked for."
        ),
    ]
    rows: Annotated[
        list[list[str]],
        Meta(description="All cells are text, figures too. A minute is spelled as in the range."),
    ]
