from typing import Annotated

import msgspec
from msgspec import Meta


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    query_debug: Annotated[
        bool,
        Meta(description="Compare answers with the expected ones that queries carry as body."),
    ] = False
    max_future_skew_hours: Annotated[
        float,
        Meta(ge=0, description="Refuse tags later than the server's clock by more; 0: never."),
    ] = 1.0
    read_your_write_seconds: Annotated[
        float,
        Meta(ge=0, description="Longest wait of a profile query for tags acknowledged before it."),
    ] = 0.1
