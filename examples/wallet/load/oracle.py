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
SHOPS = 200
SHOP_OPEN_MAX = 100_000_00
"""Of each shop, as the server is set by default."""
FULL_SHARE = 0.25
"""Of the accounts: each fills a shop of its own."""
OPEN_MAX = 5
"""Purchases of an account that are left open."""


class Ask(NamedTuple):
    """One request, and the answers that are right."""

    target: str
    body: bytes
    right: dict[str, tuple[int, int | None]]
    """By what became of the payment, or why it was refused: status, and what is available then."""


class Wait(NamedTuple):
    """Until a purchase has expired, or a shop has heard that one is paid."""

    target: str
    shows: dict[str, int]


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
    def told(self) -> dict[str, int]:
        """As it is asked for now."""
        return {"balance": self.balance, "held": self.held, "available": self.available}

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
        if self._draw.random() < FULL_SHARE:
            self._fill_a_shop()
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

    def _ask(self, target: str, body: Any, right: dict[str, int]) -> Ask:
        account = self._account
        asked = Ask(
            f"/accounts/{account.name}/{target}",
            b"" if body is None else json.dumps(body).encode(),
            {status: (code, account.available) for status, code in right.items()},
        )
        account.script.append(asked)
        return asked

    def _top_up(self, cents_max: int = CENTS_MAX) -> None:
        payment, cents = self._name(), self._draw.randint(cents_max // 2, cents_max)
        self._account.balance += cents
        self._account.credited += cents
        self._topped_up.append((payment, cents))
        self._ask("topups", {"payment": payment, "cents": cents}, {"credited": 200})

    def _purchase(
        self, cents: int, right: dict[str, int], *, at: str = "", **given: Any
    ) -> tuple[str, str, Ask]:
        payment, shop = self._name(), at or f"s{self._draw.randrange(SHOPS)}"
        body = {"payment": payment, "shop": shop, "cents": cents, **given}
        return payment, shop, self._ask("purchases", body, right)

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
            payment, shop, _ = self._purchase(cents, {"held": 200}, **given)
            self._confirm(payment, cents)
            if kind:
                account.receipts.append(Receipt(account.name, payment, shop, cents, kind))

    def _confirm(self, payment: str, cents: int) -> None:
        account = self._account
        account.held -= cents
        account.balance -= cents
        account.debited += cents
        self._ask(f"purchases/{payment}/confirmation", None, {"paid": 200})
        self._paid.append(payment)

    def _fill_a_shop(self) -> None:
        """No cent more is let in there, until what fills it is paid."""
        account, shop = self._account, f"s-{self._account.name}"
        self._top_up(4 * SHOP_OPEN_MAX)
        account.held += SHOP_OPEN_MAX
        payment, _, filling = self._purchase(SHOP_OPEN_MAX, {"held": 200}, at=shop)
        # Where the server was killed before it answered, what is sent again finds the shop full.
        filling.right["shop_full"] = (409, None)
        *_, refused = self._purchase(1, {}, at=shop)
        refused.right["shop_full"] = (409, None)
        self._confirm(payment, SHOP_OPEN_MAX)
        account.script.append(Wait(f"/shops/{shop}", {"open": 0}))
        account.held += 1
        again, *_ = self._purchase(1, {"held": 200}, at=shop)
        self._confirm(again, 1)

    def _buy_too_much(self) -> None:
        """In a shop of its own, as it counts there until it is declined."""
        cents = self._account.available + 1
        if cents <= SHOP_OPEN_MAX:
            self._purchase(cents, {"declined": 402}, at=f"d-{self._account.name}")

    def _let_expire(self) -> None:
        """It may be over before its answer comes, where the server was killed."""
        account = self._account
        for cents in self._affordable():
            account.held += cents
            payment, _, asked = self._purchase(cents, {"held": 200}, hold_seconds=1)
            account.held -= cents
            asked.right["expired"] = (409, account.available)
            account.script.append(Wait(f"/accounts/{account.name}", account.told))
            self._ask(f"purchases/{payment}/confirmation", None, {"expired": 409})

    def _leave_open(self) -> None:
        account = self._account
        for cents in self._affordable():
            if self._open < OPEN_MAX:
                self._open += 1
                account.held += cents
                _, shop, _ = self._purchase(cents, {"held": 200}, hold_seconds=86_400)
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
