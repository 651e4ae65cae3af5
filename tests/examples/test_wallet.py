"""The example `wallet`: its rules as pure functions, and the whole of it as a process has it."""

import ast
import asyncio
import gzip
import json
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wallet
from penstock.core.edge import Received, Reply
from penstock.core.errors import Rejected, UnsupportedType
from penstock.core.manifest import Ingest
from penstock.core.openapi import document
from penstock.core.operations import Operations
from penstock.core.platform import Platform
from penstock.core.projection import Due, Elapsed, Record
from penstock.main import build
from support.logs import ANSWER_SECONDS, wait_until
from support.pipes import asked
from wallet.accounts import OPEN_MAX, REMEMBERED, Account, render, step
from wallet.events import Confirmed, Moved, Paid, Purchased, Released, ToppedUp, Wanted
from wallet.load.beforehand import TOPIC, Unfit, judge
from wallet.load.oracle import account as written
from wallet.manifest import manifest
from wallet.settings import Settings
from wallet.shops import Shop
from wallet.shops import step as shop_step

FOLDER = Path(wallet.__file__).parent

# -- rules --------------------------------------------------------------------------------------

IDS = st.sampled_from(["p", "q", "r", "s"])
CENTS = st.integers(1, 9)
HAPPENINGS = st.lists(
    st.one_of(
        st.builds(ToppedUp, st.just("a"), IDS, CENTS),
        st.builds(
            Purchased, st.just("a"), IDS, st.just("books"), CENTS, st.just(9), st.just("http://r/")
        ),
        st.builds(Confirmed, st.just("a"), IDS),
        st.builds(Elapsed, st.just(b"a"), IDS, st.just(0), st.just(0), st.just(0)),
    ),
    max_size=30,
)


class Heard:
    """What has come of some events, as the platform would have it: only timers that wait come."""

    def __init__(self) -> None:
        self.account = Account()
        self.said: list[Any] = []
        self.due: dict[str, Due] = {}

    def hear(self, event: Any) -> "Heard":
        if isinstance(event, Elapsed) and self.due.pop(event.name, None) is None:
            return self
        before = self.account
        made = step(before, Record(len(self.said), "default", 1_000, event))
        assert made.state is not None
        self.account = made.state
        if isinstance(event, Purchased):
            self.said.append(Wanted(event.account, event.payment, event.shop, event.cents))
        self.said += made.events
        for due in made.due:
            self.due[due.name] = due
            if due.at_ms is None:
                del self.due[due.name]
        return self


@given(HAPPENINGS)
def test_no_account_is_ever_below_nothing_and_what_moved_is_what_there_is(
    happenings: list[Any],
) -> None:
    heard = Heard()
    for event in happenings:
        account = heard.hear(event).account
        assert 0 <= account.held <= account.balance
        assert account.balance == sum(e.cents for e in heard.said if isinstance(e, Moved))
        waits = {name: p.cents for name, p in account.payments.items() if p.status == "held"}
        assert account.held == sum(waits.values())
        assert heard.due.keys() == waits.keys()
        shop = reduce(opened, heard.said, Shop())
        assert shop.open == account.held
    paid = [e for e in heard.said if isinstance(e, Paid)]
    assert len({e.payment for e in paid}) == len(paid)


def opened(shop: Shop, event: Any) -> Shop:
    if not isinstance(event, Wanted | Released):
        return shop
    made = shop_step(shop, Record(0, "default", 0, event)).state
    assert made is not None
    return made


@given(HAPPENINGS, st.data())
def test_what_is_sent_again_changes_nothing_but_what_is_told(
    happenings: list[Any], data: st.DataObject
) -> None:
    sent = [event for event in happenings if not isinstance(event, Elapsed)]
    heard = reduce(Heard.hear, happenings, Heard())
    for event in data.draw(st.lists(st.sampled_from(sent), max_size=5)) if sent else []:
        if isinstance(event, Confirmed) and event.payment in heard.due:
            continue  # what was not confirmed before may be now
        before = heard.account
        assert heard.hear(event).account == before
        assert render(before, event) is not None


def hear(events: Sequence[Any]) -> Account:
    return reduce(Heard.hear, events, Heard()).account


def test_what_waits_is_bounded_and_outlives_what_is_remembered() -> None:
    rich = [ToppedUp("a", "t", 1_000_000)]
    bought = [Purchased("a", f"p{n}", "books", 1, 9, "") for n in range(OPEN_MAX + 1)]
    later = [ToppedUp("a", f"t{n}", 1) for n in range(2 * REMEMBERED)]
    account = hear([*rich, *bought, *later, Confirmed("a", "p0")])

    assert account.held == OPEN_MAX - 1
    assert account.payments["p0"].status == "paid", "who asked for it is to be told"
    assert len(account.payments) == REMEMBERED + OPEN_MAX - 1
    assert len(msgspec.msgpack.encode(account)) < 32_768


# -- what comes in ------------------------------------------------------------------------------

TAKEN = {
    "wallet.top_up": b'{"payment":"t","cents":1}',
    "wallet.purchase": b'{"payment":"p","shop":"books","cents":1,"receipt_to":"https://a.b/c"}',
    "wallet.confirm": b"{}",
}


class Nothing:
    """What is known before anything happened."""

    settings = Settings()
    catalogue = None

    def tally(self, key: bytes, seconds: float) -> int:
        raise NotImplementedError

    def get(self, fold: Any, key: bytes) -> Any:
        return fold.state()


def handled(one: Ingest, body: bytes, media: bytes = b"", account: str = "ann") -> Reply:
    headers = {b"content-type": media} if media else {}
    return one.handle(
        Received("POST", (account, "p"), b"", headers, body, "127.0.0.1", 0), Nothing()
    )


@pytest.mark.parametrize("one", manifest.ingest, ids=lambda one: one.operation)
def test_an_operation_takes_json_and_no_other_type(one: Ingest) -> None:
    body = TAKEN[one.operation]

    assert handled(one, body).events == handled(one, body, b"application/json").events != ()
    assert one.body_bytes_max >= len(body)
    for media in (b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data"):
        with pytest.raises(UnsupportedType):
            handled(one, body, media)


@pytest.mark.parametrize(
    ("operation", "given", "field"),
    [
        ("wallet.top_up", {"cents": 0}, "cents"),
        ("wallet.top_up", {"payment": "a/b"}, "payment"),
        ("wallet.top_up", {"more": 1}, "more"),
        ("wallet.purchase", {"shop": ""}, "shop"),
        ("wallet.purchase", {"receipt_to": "not a url"}, "receipt_to"),
        ("wallet.purchase", {"receipt_to": "ftp://a.b/"}, "receipt_to"),
        ("wallet.purchase", {"receipt_to": "http://"}, "receipt_to"),
        ("wallet.confirm", {"cents": 1}, "cents"),
    ],
)
def test_what_is_refused_names_the_field(
    operation: str, given: dict[str, object], field: str
) -> None:
    one = next(one for one in manifest.ingest if one.operation == operation)
    with pytest.raises(Rejected) as raised:
        handled(one, json.dumps({**json.loads(TAKEN[operation]), **given}).encode())

    assert (raised.value.code, raised.value.field) == ("bad_field", field)


def test_a_segment_of_a_path_is_named_too() -> None:
    with pytest.raises(Rejected) as raised:
        handled(manifest.ingest[0], TAKEN["wallet.top_up"], account="an n")

    assert raised.value.field == "account"


def test_clients_are_told_of_every_refusal_and_given_paths_that_are_some() -> None:
    told = document([manifest], [])["paths"]

    assert (
        "shop_full"
        in told["/accounts/{account}/purchases"]["post"]["responses"]["409"]["description"]
    )
    for path, operations in told.items():
        for operation in operations.values():
            assert path.count("{") == len([p for p in operation["parameters"] if "example" in p])


# -- the load -----------------------------------------------------------------------------------


def test_the_load_shares_nothing_with_what_it_grades() -> None:
    imported = {
        name
        for path in sorted((FOLDER / "load").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom | ast.Import)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom)
                     else [alias.name for alias in node.names])
    }  # fmt: skip
    ours = {name for name in imported if name.startswith(("penstock", "wallet"))}

    assert {".".join(name.split(".")[:2]) for name in ours} == {"penstock.load", "wallet.load"}


def test_a_seed_is_a_day_and_the_oracle_s_books_are_balanced() -> None:
    days = [[written(seed, n, 40, "http://r") for n in range(9)] for seed in (1, 1, 2)]

    assert days[0] == days[1] != days[2]
    for account in days[0]:
        assert account.balance == account.credited - account.debited
        assert account.held == sum(account.opened.values())
        assert account.available >= 0


@pytest.mark.parametrize(
    ("topics", "remedy"),
    [
        ({"audiences.tags": 0}, "PENSTOCK_APPLICATIONS=wallet"),
        ({TOPIC: 7}, "another folder for --data"),
    ],
)
def test_a_server_that_cannot_be_graded_is_refused_with_the_remedy(
    topics: dict[str, int], remedy: str
) -> None:
    with pytest.raises(Unfit, match=remedy):
        judge(
            {"topics": [{"topic": name, "end": end} for name, end in topics.items()]},
            "",
            again=False,
        )
    for end, again in ((0, False), (7, True), (None, False)):
        judge({"topics": [{"topic": TOPIC, "end": end}]}, "", again=again)


# -- the whole of it ----------------------------------------------------------------------------


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """As `penstock serve` builds it in the folder of the example."""
    monkeypatch.chdir(FOLDER.parent)
    environment = {"PENSTOCK_APPLICATIONS": "wallet", "PENSTOCK_DISK_FREE_BYTES_MIN": "0"}
    built = build(environment, {"data": str(tmp_path)})
    built.start()
    yield built
    built.close()


def test_a_process_serves_it_judges_coded_bodies_elsewhere_and_makes_it_all_again(
    platform: Platform,
) -> None:
    async def ask(method: str, path: str, body: bytes = b"", head: str = "") -> tuple[int, Any]:
        line = (
            f"{method} {path} HTTP/1.1\r\nHost: tests\r\n{head}Content-Length: {len(body)}\r\n\r\n"
        )
        deadline = monotonic() + ANSWER_SECONDS
        while True:
            status, _, answer = await asked(platform.edge, method, [line.encode() + body])
            if status not in (202, 503) or monotonic() > deadline:
                return status, json.loads(answer)
            await asyncio.sleep(0.05)  # a busy machine: it is safe to ask again

    async def day() -> list[tuple[int, Any]]:
        platform.edge.attach(asyncio.get_running_loop())
        coded = gzip.compress(b'{"payment":"t-1","cents":5000}')
        return [
            await ask("POST", "/accounts/ann/topups", coded, "Content-Encoding: gzip\r\n"),
            await ask(
                "POST",
                "/accounts/ann/purchases",
                b'{"payment":"p-1","shop":"books","cents":1999,"receipt_to":"http://127.0.0.1/"}',
            ),
            await ask(
                "POST",
                "/accounts/ann/purchases",
                b'{"payment":"p-2","shop":"books","cents":3002}',
            ),
            await ask("POST", "/accounts/ann/purchases/p-1/confirmation"),
            await ask("GET", "/accounts/ann"),
            await ask("POST", "/accounts/an%20n/topups", b'{"payment":"t-1","cents":1}'),
        ]

    *answers, (refused, told) = asyncio.run(day())

    def became(payment: str, status: str, available: int) -> dict[str, object]:
        return {"payment": payment, "status": status, "available": available}

    assert answers == [
        (200, became("t-1", "credited", 5000)),
        (200, became("p-1", "held", 3001)),
        (402, became("p-2", "declined", 3001)),
        (200, became("p-1", "paid", 3001)),
        (200, {"balance": 3001, "held": 0, "available": 3001}),
    ]
    assert (refused, told["error"]) == (400, "bad_field")
    operations = Operations(platform)
    wait_until(lambda: len(operations.jobs()) == 1)
    for view in platform.consumers:
        rebuilt = operations.rebuild(view, lambda *_: None, from_scratch=False, dry_run=False)
        assert (view, rebuilt.differences, rebuilt.swapped) == (view, [], True)
