"""Requests in, events out: nothing here decides, and nothing waits."""

from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from penstock.core.edge import Known, Received, Reply
from penstock.core.edge.reading import check_type, fault
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
        str,
        Meta(
            max_length=500,
            pattern=r"^(https?://[^\s/?#]\S*)?$(?!\n)",
            description="URL that a receipt is posted to; empty: none.",
        ),
    ] = ""


class Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The path says it all; clients send `{}`, or no body."""


def _id(text: str) -> str:
    return msgspec.convert(text, Id)


_top_up = msgspec.json.Decoder(TopUp).decode
_purchase = msgspec.json.Decoder(Purchase).decode
_confirmation = msgspec.json.Decoder(Confirmation).decode


def top_up(received: Received, known: Known[Settings, None]) -> Reply:
    """Raise `Rejected` or `UnsupportedType`."""
    del known
    asked = _body(_top_up, received)
    return Reply((ToppedUp(account_of(received), asked.payment, asked.cents),))


def purchase(received: Received, known: Known[Settings, None]) -> Reply:
    """Raise `Rejected`, `UnsupportedType`, and `Conflict` where the shop has too much open."""
    asked = _body(_purchase, received)
    shop = known.get(shops, asked.shop.encode())
    if shop.open + asked.cents > known.settings.shop_open_cents_max:
        raise Conflict(f"{asked.shop} has too much to confirm yet", code="shop_full")
    hold_seconds = asked.hold_seconds or known.settings.hold_seconds
    about = (account_of(received), asked.payment, asked.shop, asked.cents)
    return Reply((Purchased(*about, hold_seconds, asked.receipt_to), Wanted(*about)))


def confirm(received: Received, known: Known[Settings, None]) -> Reply:
    """Raise `Rejected` or `UnsupportedType`."""
    del known
    check_type(received)
    if received.body:
        _read(_confirmation, received.body)
    payment = id_of(received.parameters[1], "payment")
    return Reply((Confirmed(account_of(received), payment),))


def account_of(received: Received) -> str:
    return id_of(received.parameters[0], "account")


def id_of(text: str, name: str) -> str:
    """Of a segment of a path, of that name. Raise `Rejected`."""
    return _read(_id, text, name)


def _body(read: Callable[[bytes], T], received: Received) -> T:
    check_type(received)
    return _read(read, received.body)


def _read(read: Callable[[G], T], given: G, name: str = "") -> T:
    try:
        return read(given)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        said = str(error)
        raise Rejected(said[:200], code="bad_field", field=name or fault(said)) from None
