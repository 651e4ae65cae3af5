"""Everything that the wallet offers, in one value."""

from penstock.core.errors import Conflict
from penstock.core.manifest import Ingest, Manifest, Route
from wallet import ingest, interface, routes
from wallet.accounts import ASK, accounts
from wallet.events import CLOSINGS, MOVEMENTS, PAYMENTS, RECEIPTS, SHOPS, STATEMENTS
from wallet.movements import movements
from wallet.receipts import receipts
from wallet.settings import Settings
from wallet.shops import shops
from wallet.statements import closing, statement, statements

BODY_BYTES_MAX = 4_096

manifest = Manifest(
    name="wallet",
    summary="Money that is put in, held, paid and stated.",
    settings=Settings,
    topics=(PAYMENTS, MOVEMENTS, SHOPS, RECEIPTS, CLOSINGS, STATEMENTS),
    ingest=(
        Ingest(
            operation="wallet.top_up",
            paths=("/accounts/{account}/topups",),
            emits=(PAYMENTS,),
            handle=ingest.top_up,
            ask=ASK,
            body_bytes_max=BODY_BYTES_MAX,
            summary="Put money in.",
            interface=interface.TOP_UP,
        ),
        Ingest(
            operation="wallet.purchase",
            paths=("/accounts/{account}/purchases",),
            emits=(PAYMENTS, SHOPS),
            handle=ingest.purchase,
            near=(shops,),
            ask=ASK,
            body_bytes_max=BODY_BYTES_MAX,
            summary="Have money held for a purchase.",
            interface=interface.PURCHASE,
        ),
        Ingest(
            operation="wallet.confirm",
            paths=("/accounts/{account}/purchases/{payment}/confirmation",),
            emits=(PAYMENTS,),
            handle=ingest.confirm,
            ask=ASK,
            body_bytes_max=BODY_BYTES_MAX,
            summary="Pay what is held.",
            interface=interface.CONFIRM,
        ),
    ),
    projections=(accounts, shops, receipts, movements, statements),
    routes=(
        Route(
            operation="wallet.account",
            paths=("/accounts/{account}",),
            handle=routes.account,
            body_bytes_max=0,
            summary="What an account has.",
            interface=interface.ACCOUNT,
        ),
        Route(
            operation="wallet.receipt",
            paths=("/accounts/{account}/purchases/{payment}/receipt",),
            handle=routes.receipt,
            body_bytes_max=0,
            summary="What became of the receipt of a purchase.",
            interface=interface.RECEIPT,
        ),
        Route(
            operation="wallet.statements",
            paths=("/accounts/{account}/statements",),
            handle=routes.stated,
            body_bytes_max=0,
            summary="The statements of an account.",
            interface=interface.STATEMENTS,
        ),
        Route(
            operation="wallet.total",
            paths=("/total",),
            handle=routes.total,
            body_bytes_max=0,
            summary="What all accounts together have.",
            interface=interface.TOTAL,
        ),
        Route(
            operation="wallet.shop",
            paths=("/shops/{shop}",),
            handle=routes.shop,
            body_bytes_max=0,
            summary="What the open purchases of a shop come to.",
            interface=interface.SHOP,
        ),
    ),
    schedules=(closing, statement),
    package=__package__,
    errors={
        "bad_field": "A member or a name is missing, mistyped, unknown or out of range.",
        "shop_full": (Conflict, "The shop has to confirm first what was bought before."),
    },
)
