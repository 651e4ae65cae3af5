"""Sends what the oracle has written, account by account at once, and grades what comes of it."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, NamedTuple

from penstock.load.asking import Asker
from penstock.load.chaos import Server
from penstock.load.client import Endpoint
from penstock.load.plans import Options
from penstock.load.progress import progress
from wallet.load.beforehand import Unfit, look, unreached
from wallet.load.oracle import Account, Ask, Receipt, Wait
from wallet.load.receiver import Receiver

CONNECTIONS = 32
ANSWER_SECONDS = 30.0
PATIENCE_SECONDS = 120.0
"""For whatever is to become true; no measure of how fast it does."""
TOLD_SECONDS = 5.0
"""After so many it is said what is waited for."""
_AGAIN_SECONDS = 0.05
_WRONG_MAX = 10
_NOT_DECIDED = 202


class Given(NamedTuple):
    options: Options
    accounts: Sequence[Account]
    kills: int
    states: bool
    """Whether statements are made so often that they can be waited for."""


class Figures(NamedTuple):
    """What was as it has to be, and what was not."""

    requests: int
    decisions: int
    receipts: int
    given_up: int
    balances: int
    statements: int
    kills: int
    wrong: list[str]


class Run:
    def __init__(self, given: Given, receiver: Receiver | None) -> None:
        """Without a receiver everything was sent before, and is looked at again."""
        self._given = given
        self._receiver = receiver
        self._endpoint = Endpoint(given.options.url, given.options.ca)
        self._server = Server(given.options, self._endpoint)
        self._asker: Asker
        self._right: Counter[str] = Counter()
        """By figure, what was as it has to be."""
        self._decided = 0
        self._progress = asyncio.Event()
        self._wrong: list[str] = []

    async def run(self) -> Figures:
        try:
            await self._server.start()
            self._asker = Asker(
                self._endpoint, connections=CONNECTIONS, timeout_seconds=ANSWER_SECONDS
            )
            try:
                await look(self._asker, self._endpoint.url, again=self._receiver is None)
                if self._receiver is not None:
                    await self._until_days_are_closed()
                    await self._send_all()
                await self._check()
            finally:
                await self._asker.close()
        finally:
            await self._server.stop()
        figures = {name: self._right[name] for name in Figures._fields[:-2]}
        return Figures(**figures, kills=self._server.kills, wrong=self._wrong)

    async def _until_days_are_closed(self) -> None:
        """What happens before a schedule is first seen is stated by nobody."""

        async def right() -> str:
            pipeline = await self._get("/api/pipeline")
            closed = [
                of["end"] for of in pipeline.get("topics", []) if of["topic"] == "wallet.closings"
            ]
            return "" if any(closed) else "none is"

        if self._given.states:
            hint = "statements have to be made every few seconds"
            await self._eventually("days are closed", right, lambda: hint)

    # -- sending --------------------------------------------------------------------------------

    @property
    def _whole(self) -> int:
        return sum(account.decisions for account in self._given.accounts)

    async def _send_all(self) -> None:
        with progress("wallet", self._whole) as show:
            async with asyncio.TaskGroup() as sending:
                for account in self._given.accounts:
                    sending.create_task(self._send(account, show))
                sending.create_task(self._kill())

    async def _kill(self) -> None:
        """Evenly spread over what is to be decided, so always in the midst of it."""
        whole = self._whole
        for number in range(1, self._given.kills + 1):
            while self._decided < whole * number // (self._given.kills + 1):
                self._progress.clear()
                await self._progress.wait()
            await self._server.kill()

    async def _send(self, account: Account, show: Callable[[int], None]) -> None:
        for step in account.script:
            if isinstance(step, Wait):
                await self._shows(step.target, step.shows)
            else:
                await self._decide(step)
                self._decided += 1
                show(self._decided)
                self._progress.set()

    async def _decide(self, asked: Ask) -> None:
        """Send it until it is answered: as the client's own name for it is the same, that is safe.

        What was not decided in time is safe, and sending it again asks for it.
        """
        status, body = await self._answered(asked.target, asked.body)
        told = json.loads(body) if status in (200, 402, 409) else {}
        right = asked.right.get(told.get("status") or told.get("error", ""))
        if right == (status, told.get("available")):
            self._right["decisions"] += 1
        else:
            self._is_wrong(f"{asked.target} {asked.body!r}", asked.right, (status, body))

    async def _answered(self, target: str, body: bytes | None) -> tuple[int, bytes]:
        deadline = monotonic() + PATIENCE_SECONDS
        while True:
            self._right["requests"] += 1
            exchange = await (
                self._asker.get(target) if body is None else self._asker.ask(target, body)
            )
            answered = 0 < exchange.status < 500 and exchange.status != _NOT_DECIDED
            if answered or monotonic() > deadline:
                return exchange.status, exchange.body
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _get(self, target: str) -> Any:
        status, body = await self._answered(target, None)
        return json.loads(body) if status == 200 else {}

    # -- what has come of it --------------------------------------------------------------------

    async def _check(self) -> None:
        for account in self._given.accounts:
            found = await self._get(f"/accounts/{account.name}")
            if found == account.told:
                self._right["balances"] += 1
            else:
                self._is_wrong(account.name, account.told, found)
            for receipt in account.receipts:
                await self._check_receipt(receipt)
        await self._check_shops()
        accounts = self._given.accounts
        balance, held = sum(one.balance for one in accounts), sum(one.held for one in accounts)
        whole = {"balance": balance, "held": held, "available": balance - held}
        await self._shows("/total", whole)
        if self._given.states:
            for account in self._given.accounts:
                await self._check_statements(account)

    async def _check_shops(self) -> None:
        held: dict[str, int] = {}
        for account in self._given.accounts:
            for shop, cents in account.opened.items():
                held[shop] = held.get(shop, 0) + cents
        for shop, cents in held.items():
            await self._shows(f"/shops/{shop}", {"open": cents})

    async def _shows(self, target: str, expected: Any) -> None:
        async def right() -> str:
            found = await self._get(target)
            return "" if found == expected else str(found)

        await self._eventually(f"{target} is {expected}", right)

    async def _check_receipt(self, receipt: Receipt) -> None:
        """Nobody gets one that is not right, and each is told of as what became of it.

        Raise `Unfit` where the server may not go to where receipts are taken.
        """
        account, payment, *_ = receipt
        target = f"/accounts/{account}/purchases/{payment}/receipt"
        status = "given up" if receipt.kind == "gone" else "sent"

        async def right() -> str:
            found = await self._get(target)
            if found.get("status") == "given up" != status and (hint := self._unreached()):
                raise Unfit(hint)
            return "" if found.get("status") == status else str(found)

        await self._eventually(f"{target} is {status}", right, self._unreached)
        self._right["receipts" if receipt.kind != "gone" else "given_up"] += 1
        if self._receiver is None:
            return
        taken = self._receiver.taken.get(f"{account}/{payment}", [])
        said = {"account": account, "payment": payment, "shop": receipt.shop}
        wrong = [body for body in taken if {**body, **said, "cents": receipt.cents} != body]
        if wrong or bool(taken) != (receipt.kind != "gone"):
            self._is_wrong(f"the receipt of {account}/{payment}", said, taken)

    def _unreached(self) -> str:
        """What to do where no receipt has come at all."""
        receiver = self._receiver
        return unreached(receiver.port) if receiver and not receiver.asked else ""

    async def _check_statements(self, account: Account) -> None:
        """One goes on from the other, and together they are all that came and went."""
        whole = (account.credited, account.debited, account.balance)

        async def right() -> str:
            found = (await self._get(f"/accounts/{account.name}/statements"))[::-1]
            credited = sum(one["credited"] for one in found)
            debited = sum(one["debited"] for one in found)
            ends = [0, *(one["closing"] for one in found)]
            if [one["opening"] for one in found] != ends[:-1]:
                return f"one does not go on from the other: {found}"
            if whole != (credited, debited, ends[-1]):
                return str(found)
            self._right["statements"] += len(found)
            return ""

        await self._eventually(f"the statements of {account.name} come to {whole}", right)

    async def _eventually(
        self, what: str, right: Callable[[], Awaitable[str]], hint: Callable[[], str] = str
    ) -> None:
        """`right` says what is wrong yet, or nothing; `hint` what to do about it."""
        begun, told = monotonic(), False
        while wrong := await right():
            waited = monotonic() - begun
            if waited > PATIENCE_SECONDS:
                self._is_wrong(what, "", wrong)
                return
            if waited > TOLD_SECONDS and not told:
                told = True
                say = hint() or f"now: {wrong[:200]}"
                sys.stderr.write(f"waiting until {what}; {say}\n")
                sys.stderr.flush()
            await asyncio.sleep(_AGAIN_SECONDS)

    def _is_wrong(self, what: str, expected: object, found: object) -> None:
        if len(self._wrong) < _WRONG_MAX:
            self._wrong.append(f"{what}\n  expected {expected}\n  found    {found}")


def run(given: Given, receiver: Receiver | None) -> Figures:
    """Blocks until it is over."""

    async def running() -> Figures:
        return await Run(given, receiver).run()

    return asyncio.run(running())
