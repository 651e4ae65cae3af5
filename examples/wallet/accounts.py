"""What an account has: the rules, each a pure function of what was and of what happens."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from penstock.core.edge import Response
from penstock.core.manifest import Ask
from penstock.core.projection import Due, Elapsed, Fold, Mirror, Record, Step
from penstock.core.projection.flush import Flush
from wallet.events import (
    MOVEMENTS,
    PAYMENTS,
    RECEIPTS,
    SHOPS,
    Confirmed,
    Moved,
    Paid,
    Purchased,
    Released,
    ToppedUp,
)

OPEN_MAX = 50
"""Purchases of one account that wait to be confirmed."""
REMEMBERED = 100
"""Payments of one account whose outcome is known, the open ones besides."""


class Payment(msgspec.Struct, frozen=True, omit_defaults=True):
    status: Literal["credited", "held", "declined", "paid", "expired"]
    cents: int
    shop: str = ""
    receipt_to: str = ""


class Account(msgspec.Struct, frozen=True, array_like=True):
    balance: int = 0
    held: int = 0
    """Of the balance: what open purchases come to."""
    payments: Mapping[str, Payment] = {}
    """What became of each; the last that changed is the last of them."""

    @property
    def available(self) -> int:
        return self.balance - self.held


def step(account: Account, record: Record[Any]) -> Step[Account]:
    match record.event:
        case ToppedUp() as event:
            return top_up(account, event)
        case Purchased() as event:
            return purchase(account, event, record.at_ms)
        case Confirmed() as event:
            return confirm(account, event)
        case Elapsed() as event:
            return expire(account, event.key.decode(), event.name)
    raise ValueError(f"{type(record.event).__name__} is nothing that an account hears")


def top_up(account: Account, event: ToppedUp) -> Step[Account]:
    if event.payment in account.payments:
        return Step(account)
    after = _changed(account, event.payment, Payment("credited", event.cents), balance=event.cents)
    return Step(after, [Moved(event.account, event.payment, "", event.cents)])


def purchase(account: Account, event: Purchased, at_ms: int) -> Step[Account]:
    """Hold the money, if it is there, until the shop confirms or the time is over."""
    released = Released(event.account, event.payment, event.shop, event.cents)
    if event.payment in account.payments:
        return Step(account, [released])
    held = Payment("held", event.cents, event.shop, event.receipt_to)
    is_open = [one for one in account.payments.values() if one.status == "held"]
    if event.cents > account.available or len(is_open) >= OPEN_MAX:
        return Step(_changed(account, event.payment, _now(held, "declined")), [released])
    after = _changed(account, event.payment, held, held=event.cents)
    return Step(after, due=[Due(event.payment, at_ms + 1_000 * event.hold_seconds)])


def confirm(account: Account, event: Confirmed) -> Step[Account]:
    payment = account.payments.get(event.payment)
    if payment is None or payment.status != "held":
        return Step(account)
    cents, about = payment.cents, (event.account, event.payment, payment.shop)
    after = _changed(account, event.payment, _now(payment, "paid"), balance=-cents, held=-cents)
    said: list[Any] = [Moved(*about, -cents), Released(*about, cents)]
    if payment.receipt_to:
        said.append(Paid(*about, cents, payment.receipt_to))
    return Step(after, said, [Due(event.payment, None)])


def expire(account: Account, whose: str, name: str) -> Step[Account]:
    """Nobody confirmed in time."""
    payment = account.payments[name]
    after = _changed(account, name, _now(payment, "expired"), held=-payment.cents)
    return Step(after, [Released(whose, name, payment.shop, payment.cents)])


def _now(payment: Payment, status: Any) -> Payment:
    return msgspec.structs.replace(payment, status=status)


def _changed(
    account: Account, name: str, payment: Payment, *, balance: int = 0, held: int = 0
) -> Account:
    rest = {other: one for other, one in account.payments.items() if other != name}
    payments = {**rest, name: payment}
    closed = [name for name, one in payments.items() if one.status != "held"]
    for forgotten in closed[:-REMEMBERED]:
        del payments[forgotten]
    return Account(account.balance + balance, account.held + held, payments)


class Balance(msgspec.Struct, frozen=True):
    """A row of an account."""

    balance: int
    held: int


def balance(key: bytes, account: Account) -> Balance:
    del key
    return Balance(account.balance, account.held)


accounts: Fold[Any, Account] = Fold(
    space="wallet.accounts",
    topic=PAYMENTS,
    state=Account,
    step=step,
    emits=(MOVEMENTS, SHOPS, RECEIPTS),
    mirror=Mirror(table="wallet_balances", columns=Balance, row=balance, wait_seconds=0.2),
    flush=Flush.immediate(),
)


def render(account: Account, event: ToppedUp | Purchased | Confirmed) -> Response:
    """What whoever asked is told: by the payment's outcome, however often it was sent."""
    payment = account.payments.get(event.payment)
    if isinstance(event, Confirmed):
        status = "unknown" if payment is None else payment.status
        return _told(account, event.payment, status, 200 if status == "paid" else 409)
    if payment is None:
        return _told(account, event.payment, "unknown", 409)
    if payment.cents != event.cents or payment.shop != getattr(event, "shop", ""):
        return _told(account, event.payment, "reused", 409)
    refused = {"declined": 402, "expired": 409}
    return _told(account, event.payment, payment.status, refused.get(payment.status, 200))


def _told(account: Account, payment: str, status: str, code: int) -> Response:
    told = {"payment": payment, "status": status, "available": account.available}
    return Response.json(told, code)


ASK = Ask(fold=accounts, render=render)
