"""What is sent, and what has to come of it.

The requests of an account are sent one after the other, each until it is answered, so the same seed
has the same outcome, whatever is killed meanwhile.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

CENTS_MAX = 50_000
SHOPS = 20
OPEN_MAX = 5
"""Purchases of an account that are left open."""


class Ask(NamedTuple):
    """One request, and the answers that are right."""

    target: str
    body: bytes
    right: dict[str, tuple[int, int]]
    """By what became of the payment: status, and what is available then."""


class Wait(NamedTuple):
    """Until the account has so much available: a purchase expires."""

    available: int


class Receipt(NamedTuple):
    account: str
    payment: str
    shop: str
    cents: int
    kind: str
    """`ok`; `later`: taken the second time; `gone`: never."""


@dataclass
class Account:
    """What the wallet has to know in the end."""

    name: str
    balance: int = 0
    held: int = 0
    credited: int = 0
    debited: int = 0
    script: list[Ask | Wait] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    opened: dict[str, int] = field(default_factory=dict)
    """By shop, what is held for it."""

    @property
    def available(self) -> int:
        return self.balance - self.held

    @property
    def decisions(self) -> int:
        return sum(isinstance(step, Ask) for step in self.script)


def account(seed: int, number: int, steps: int, receiver: str) -> Account:
    """Receipts are to go to `receiver`, a URL."""
    made = Account(f"a{number}")
    _Writer(made, random.Random(f"{seed}/{number}"), receiver).write(steps)  # noqa: S311 - a seed
    return made


class _Writer:
    def __init__(self, account: Account, draw: random.Random, receiver: str) -> None:
        self._account = account
        self._draw = draw
        self._receiver = receiver
        self._numbers = count(1)
        self._paid: list[str] = []
        self._topped_up: list[tuple[str, int]] = []
        self._open = 0

    def write(self, steps: int) -> None:
        self._top_up()
        kinds: list[tuple[Callable[[], None], int]] = [
            (self._top_up, 20),
            (self._buy, 45),
            (self._buy_too_much, 8),
            (self._let_expire, 4),
            (self._leave_open, 4),
            (self._again, 8),
            (self._reuse, 4),
            (self._confirm_again, 4),
            (self._confirm_nothing, 3),
        ]
        chosen = self._draw.choices(
            [kind for kind, _ in kinds], [weight for _, weight in kinds], k=steps
        )
        for kind in chosen:
            kind()

    def _name(self) -> str:
        return f"n{next(self._numbers)}"

    def _ask(self, target: str, body: Any, right: dict[str, int]) -> None:
        account = self._account
        self._account.script.append(
            Ask(
                f"/accounts/{account.name}/{target}",
                b"" if body is None else json.dumps(body).encode(),
                {status: (code, account.available) for status, code in right.items()},
            )
        )

    def _top_up(self) -> None:
        payment, cents = self._name(), self._draw.randint(1, CENTS_MAX)
        self._account.balance += cents
        self._account.credited += cents
        self._topped_up.append((payment, cents))
        self._ask("topups", {"payment": payment, "cents": cents}, {"credited": 200})

    def _purchase(self, cents: int, right: dict[str, int], **given: Any) -> tuple[str, str]:
        payment, shop = self._name(), f"s{self._draw.randrange(SHOPS)}"
        body = {"payment": payment, "shop": shop, "cents": cents, **given}
        self._ask("purchases", body, right)
        return payment, shop

    def _affordable(self) -> Iterator[int]:
        """An amount, if there is any."""
        if self._account.available:
            yield self._draw.randint(1, min(self._account.available, CENTS_MAX))

    def _buy(self) -> None:
        account = self._account
        for cents in self._affordable():
            kind = self._draw.choice(["", "", "ok", "ok", "later", "gone"])
            given = {"receipt_to": f"{self._receiver}/{kind}"} if kind else {}
            account.held += cents
            payment, shop = self._purchase(cents, {"held": 200}, **given)
            account.held -= cents
            account.balance -= cents
            account.debited += cents
            self._ask(f"purchases/{payment}/confirmation", None, {"paid": 200})
            self._paid.append(payment)
            if kind:
                account.receipts.append(Receipt(account.name, payment, shop, cents, kind))

    def _buy_too_much(self) -> None:
        self._purchase(self._account.available + 1, {"declined": 402})

    def _let_expire(self) -> None:
        """It may be over before its answer comes, where the server was killed."""
        account = self._account
        for cents in self._affordable():
            account.held += cents
            payment, _ = self._purchase(cents, {"held": 200}, hold_seconds=1)
            account.held -= cents
            asked = account.script[-1]
            assert isinstance(asked, Ask)
            asked.right["expired"] = (409, account.available)
            account.script.append(Wait(account.available))
            self._ask(f"purchases/{payment}/confirmation", None, {"expired": 409})

    def _leave_open(self) -> None:
        account = self._account
        for cents in self._affordable():
            if self._open < OPEN_MAX:
                self._open += 1
                account.held += cents
                _, shop = self._purchase(cents, {"held": 200}, hold_seconds=86_400)
                account.opened[shop] = account.opened.get(shop, 0) + cents

    def _again(self) -> None:
        payment, cents = self._topped_up[-1]
        self._ask("topups", {"payment": payment, "cents": cents}, {"credited": 200})

    def _reuse(self) -> None:
        payment, cents = self._topped_up[-1]
        self._ask("topups", {"payment": payment, "cents": cents + 1}, {"reused": 409})

    def _confirm_again(self) -> None:
        for payment in self._paid[-1:]:
            self._ask(f"purchases/{payment}/confirmation", None, {"paid": 200})

    def _confirm_nothing(self) -> None:
        self._ask(f"purchases/{self._name()}/confirmation", None, {"unknown": 409})
