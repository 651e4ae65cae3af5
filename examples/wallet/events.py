"""The facts of the wallet. Amounts are cents; whatever a rule has to know is in its event."""

from typing import Any

from penstock.core.events import Event
from penstock.core.projection import Done, Elapsed, Failed, Topic


class ToppedUp(Event, frozen=True, array_like=True, gc=False, tag="topped_up/1"):
    """Somebody puts money in."""

    account: str
    payment: str
    cents: int


class Purchased(Event, frozen=True, array_like=True, gc=False, tag="purchased/1"):
    """Somebody wants to buy; whether that can be, the account decides."""

    account: str
    payment: str
    shop: str
    cents: int
    hold_seconds: int
    receipt_to: str


class Confirmed(Event, frozen=True, array_like=True, gc=False, tag="confirmed/1"):
    """The shop delivers, and wants what is held."""

    account: str
    payment: str


class Moved(Event, frozen=True, array_like=True, gc=False, tag="moved/1"):
    """Money came, or went: then there are less than none of its cents."""

    account: str
    payment: str
    shop: str
    cents: int


class Wanted(Event, frozen=True, array_like=True, gc=False, tag="wanted/1"):
    """A shop may have so much more to come; `Released` says that it has not any more."""

    account: str
    payment: str
    shop: str
    cents: int


class Released(Event, frozen=True, array_like=True, gc=False, tag="released/1"):
    """What was wanted was declined, has expired, or is paid."""

    account: str
    payment: str
    shop: str
    cents: int


class Paid(Event, frozen=True, array_like=True, gc=False, tag="paid/1"):
    """Somebody is to get a receipt."""

    account: str
    payment: str
    shop: str
    cents: int
    receipt_to: str


class Closed(Event, frozen=True, array_like=True, gc=False, tag="closed/1"):
    """A day is over: whatever the log takes from now on is of the next one."""

    end_ms: int


class Stated(Event, frozen=True, array_like=True, gc=False, tag="stated/1"):
    """What an account has had in a time, `opening + credited - debited == closing`."""

    account: str
    start_ms: int
    end_ms: int
    opening: int
    credited: int
    debited: int
    closing: int


def of_account(event: Any) -> bytes:
    account: str = event.account
    return account.encode()


def of_payment(event: Any) -> bytes:
    return f"{event.account}/{event.payment}".encode()


def once(event: Any) -> bytes:
    """What clients send has an id, which is of one account and of one shop; all else has none."""
    if not isinstance(event, ToppedUp | Purchased | Wanted):
        return b""
    return f"{event.account}/{event.payment}/{getattr(event, 'shop', '')}".encode()


PAYMENTS: Topic[Any] = Topic(
    "wallet.payments",
    (ToppedUp, Purchased, Confirmed, Elapsed),
    key=of_account,
    unique=once,
    unique_hours=48.0,
)
MOVEMENTS: Topic[Moved] = Topic("wallet.movements", (Moved,), key=of_account)
SHOPS: Topic[Any] = Topic(
    "wallet.shops",
    (Wanted, Released),
    key=lambda event: event.shop.encode(),
    unique=once,
    unique_hours=48.0,
)
RECEIPTS: Topic[Any] = Topic("wallet.receipts", (Paid, Done, Failed), key=of_payment)
CLOSINGS: Topic[Closed] = Topic("wallet.closings", (Closed,))
STATEMENTS: Topic[Stated] = Topic("wallet.statements", (Stated,), key=of_account)
