from typing import Annotated

import msgspec
from msgspec import Meta


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    hold_seconds: Annotated[
        int, Meta(ge=1, description="How long a purchase is held that does not say so itself.")
    ] = 900
    shop_open_cents_max: Annotated[
        int, Meta(ge=0, description="What all open purchases of a shop may come to, in cents.")
    ] = 100_000_00
    receipt_secret: Annotated[
        str, Meta(description="What receipts are signed with, for receivers to check; empty: not.")
    ] = ""
