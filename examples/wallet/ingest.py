"""Requests in, events out: nothing here decides, and nothing waits."""

from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from penstock.core.edge import Known, Received, Reply
from penstock.core.errors import Conflict, Rejected
from wallet.events import Confirmed, Purchased, ToppedUp, Wanted
from wallet.settings import Settings
from wallet.shops import shops

Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$(?!\n)")]
Cents = Annotated[int, Meta(ge=1, le=1_000_000_00)]
G = TypeVar("G")
T = TypeVar("T")


class TopUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    payment: Annotated[Id, Meta(description="Chosen by the client: sent again, it is the same.")]
    cents: Cents


class Purchase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    payment: Annotated[Id, Meta(description="Chosen by the client: sent again, it is the same.")]
    shop: Id
    cents: Cents
    hold_seconds: Annotated[
        int, Meta(ge=0, le=86_400, description="Until it expires; 0: as the server is set.")
    ] = 0
    receipt_to: Annotated[
        str, Meta(max_length=500, description="URL that a receipt is posted to; empty: none.")
    ] = ""


def _id(text: str) -> str:
    return msgspec.convert(text, Id)


_top_up = msgspec.json.Decoder(TopUp).decode
_purchase = msgspec.json.Decoder(Purchase).decode


def top_up(received: Received, known: Known[Settings, None]) -> Reply:
    """Raise `Rejected`."""
    del known
    asked = _read(_top_up, received.body)
    return Reply((ToppedUp(account_of(received), asked.payment, asked.cents),))


def purchase(received: Received, known: Known[Settings, None]) -> Reply:
    """Raise `Rejected`, and `Conflict` where the shop has too much open."""
    asked = _read(_purchase, received.body)
    shop = known.get(shops, asked.shop.encode())
    if shop.open + asked.cents > known.settings.shop_open_cents_max:
        raise Conflict(f"{asked.shop} has too much to confirm yet", code="shop_full")
    hold_seconds = asked.hold_seconds or known.settings.hold_seconds
    about = (account_of(received), asked.payment, asked.shop, asked.cents)
    return Reply((Purchased(*about, hold_seconds, asked.receipt_to), Wanted(*about)))


def confirm(received: Received, known: Known[Settings, None]) -> Reply:
    """Raise `Rejected`."""
    del known
    return Reply((Confirmed(account_of(received), id_of(received.parameters[1])),))


def account_of(received: Received) -> str:
    return id_of(received.parameters[0])


def id_of(text: str) -> str:
    """Of a segment of a path. Raise `Rejected`."""
    return _read(_id, text)


def _read(read: Callable[[G], T], given: G) -> T:
    try:
        return read(given)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Rejected(str(error)[:200], code="bad_field") from None
