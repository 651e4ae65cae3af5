"""Operations that answer by what a fold decides: the order of the log is the referee."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import pytest

from penstock.core.edge import Known, Received, Reply, Response
from penstock.core.events import Event
from penstock.core.interface import Answer, Interface
from penstock.core.manifest import Ask, Ingest, Manifest
from penstock.core.platform import Platform
from penstock.core.projection import Fold, Record, Step, Topic
from penstock.core.projection.flush import Flush
from penstock.main import build
from support.logs import account, contents
from support.pipes import asked
from support.purses import Settings

T = TypeVar("T")


class Paid(Event, frozen=True, array_like=True, gc=False, tag="paid/1"):
    purse: str
    payment: str
    cents: int


class Purse(msgspec.Struct, frozen=True, array_like=True):
    cents: int = 100
    decided: Mapping[str, bool] = {}
    """Payments, and whether there was enough."""


def step(purse: Purse, record: Record[Paid]) -> Step[Purse]:
    paid = record.event
    if paid.cents < 0:
        raise ValueError("nobody pays less than nothing")
    if paid.payment in purse.decided:
        return Step(purse)
    enough = paid.cents <= purse.cents
    left = purse.cents - paid.cents if enough else purse.cents
    return Step(Purse(left, {**purse.decided, paid.payment: enough}))


def render(purse: Purse, paid: Paid) -> Response | None:
    enough = purse.decided.get(paid.payment)
    return None if enough is None else Response.json({"paid": enough}, 200 if enough else 402)


def pay(received: Received, known: Known[Settings, None]) -> Reply:
    del known
    purse, payment, cents = received.body.decode().split()
    key = received.headers.get(b"idempotency-key", b"").decode()
    return Reply((Paid(purse, payment, int(cents)),), idempotency_key=key)


PAYMENTS: Topic[Paid] = Topic("tests.paid", (Paid,), key=lambda event: event.purse.encode())
OTHERS: Topic[Any] = Topic("tests.others", (), key=lambda _: b"")
purses: Fold[Paid, Purse] = Fold(
    space="tests.purses", topic=PAYMENTS, state=Purse, step=step, flush=Flush.immediate()
)
ASK = Ask(fold=purses, render=render, seconds=60.0)
OPERATION = Ingest(
    operation="tests.pay",
    paths=("/pay",),
    emits=(PAYMENTS,),
    handle=pay,
    ask=ASK,
    body_bytes_max=100,
    summary="Pay out of a purse.",
    interface=Interface(
        answers=(
            Answer(status=200, meaning="Paid."),
            Answer(status=202, meaning="Not decided yet."),
            Answer(status=402, meaning="There is not enough."),
        )
    ),
)


def offering(operation: Ingest, *projections: Fold[Any, Any]) -> Manifest:
    return Manifest(
        name="tests",
        summary="Payments.",
        settings=Settings,
        topics=(PAYMENTS, OTHERS),
        ingest=(operation,),
        projections=projections,
        package="support.purses",
    )


class Told(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def paid(self) -> bool:
        return bool(json.loads(self.body)["paid"])


class Bench:
    def __init__(self, folder: Path, operation: Ingest = OPERATION) -> None:
        self.runner = asyncio.Runner()
        self.platform: Platform = build(
            {"PENSTOCK_DISK_FREE_BYTES_MIN": "0"},
            {"data": str(folder)},
            others=(offering(operation, purses),),
        )
        self.platform.start()
        self.runner.run(self._attach())

    async def _attach(self) -> None:
        self.platform.edge.attach(asyncio.get_running_loop())

    def on(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self.runner.run(work())

    async def pay(self, payment: str, cents: int = 10, key: str = "", purse: str = "a") -> Told:
        body = f"{purse} {payment} {cents}".encode()
        named = f"Idempotency-Key: {key}\r\n" if key else ""
        head = f"POST /pay HTTP/1.1\r\nHost: tests\r\n{named}Content-Length: {len(body)}\r\n\r\n"
        return Told(*await asked(self.platform.edge, "POST", [head.encode() + body]))

    def close(self) -> None:
        self.platform.close()
        self.runner.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_equal_requests_at_once_get_one_decision_and_consistent_answers(bench: Bench) -> None:
    async def work() -> list[Told]:
        equal = [bench.pay("p", 60) for _ in range(200)]
        return await asyncio.gather(*equal, bench.pay("q", 60), bench.pay("r", 0, purse="b"))

    *equal, other, elsewhere = bench.on(work)
    assert {(told.status, told.paid) for told in equal} in ({(200, True)}, {(402, False)})
    assert other.paid is not equal[0].paid, "there is enough for one of them"
    assert elsewhere.paid


def test_a_repeat_under_its_key_is_stored_once_and_told_what_was_decided(bench: Bench) -> None:
    first, again = (bench.on(lambda: bench.pay("p", 60, key="k")) for _ in range(2))
    assert first.body == again.body
    assert (first.status, again.status) == (200, 200)
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert bench.on(lambda: bench.pay("q", 60, key="k")).status == 422
    assert bench.platform.log is not None
    assert len(contents(bench.platform.log, PAYMENTS.name)) == 1
    assert account(bench.platform.log, PAYMENTS.name)[1:] == (3, 1, 1, 1)


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_what_is_not_decided_in_time_is_safe_and_pending(tmp_path: Path, seconds: float) -> None:
    """Never that it failed: whoever pays again would pay twice."""
    bench = Bench(tmp_path, replace(OPERATION, ask=replace(ASK, seconds=seconds)))
    try:
        consumer = bench.platform.consumers[purses.name]
        with consumer.paused():
            told = bench.on(lambda: bench.pay("p"))
        assert (told.status, json.loads(told.body)) == (202, {"status": "pending"})
        assert bench.platform.log is not None
        assert len(contents(bench.platform.log, PAYMENTS.name)) == 1
        assert bench.platform.edge.in_flight == 0
    finally:
        bench.close()


def test_a_fold_that_cannot_be_asked_or_a_state_that_does_not_tell_is_pending(
    bench: Bench,
) -> None:
    assert bench.on(lambda: bench.pay("p", -1)).status == 202, "it is a dead letter"
    assert bench.on(lambda: bench.pay("p", 1)).status == 200
    consumer = bench.platform.consumers[purses.name]
    consumer.judge("somebody took its entries")
    assert bench.on(lambda: bench.pay("q", 1)).status == 202
    assert bench.platform.log is not None
    assert len(contents(bench.platform.log, PAYMENTS.name)) == 3


@pytest.mark.parametrize(
    ("change", "projections", "said"),
    [
        ({}, (), "asks a fold that is not offered"),
        ({"emits": (OTHERS, PAYMENTS)}, (purses,), "let it emit to that first"),
        ({"respond_first": "fail_open"}, (purses,), "cannot respond first and ask"),
    ],
)
def test_an_operation_that_could_not_be_answered_is_refused_when_it_is_made(
    change: dict[str, Any], projections: tuple[Fold[Any, Any], ...], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        offering(replace(OPERATION, **change), *projections)
