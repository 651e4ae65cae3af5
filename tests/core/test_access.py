"""Access: nobody, anyone, and who has a key of the settings."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256

import pytest

from penstock.core.edge import Principal, Received, Reply
from penstock.core.edge.access import Access, Keys, admitting
from penstock.core.edge.gate import Gate
from penstock.core.errors import Forbidden, Misconfigured, Unauthorized
from support.asking import Hosted, ask
from support.hosts import Request, Rig, note_endpoint, served
from support.logs import account

ANN, BOB = b"ann's very random key", b"bob's"


def line(name: str, key: bytes) -> str:
    return f"{name}=sha256:{sha256(key).hexdigest()}"


SETTING = f"{line('ann', ANN)}, {line('bob', BOB)},"
KEYS = Keys(str)


def who(headers: Mapping[bytes, bytes], access: Access = KEYS) -> Principal:
    admit = admitting(access, SETTING, "tests.keyed")
    assert admit is not None
    return admit(headers)


def test_anyone_may_ask_and_is_not_even_looked_at() -> None:
    assert admitting("anyone", None, "tests.open") is None


def test_nobody_may_ask() -> None:
    with pytest.raises(Forbidden):
        who({b"authorization": b"Bearer " + ANN}, "nobody")


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({b"authorization": b"Bearer " + ANN}, "ann"),
        ({b"authorization": b"bearer  " + BOB}, "bob"),
        ({b"x-api-key": BOB}, "bob"),
        ({b"authorization": b"Basic YTpi", b"x-api-key": ANN}, "ann"),
    ],
)
def test_who_has_a_key_is_known_by_its_name(headers: Mapping[bytes, bytes], name: str) -> None:
    assert who(headers) == Principal(name)


@pytest.mark.parametrize(
    "headers",
    [
        {}, {b"authorization": b"Bearer"}, {b"authorization": b"Bearer "},
        {b"authorization": b"Basic " + ANN}, {b"authorization": b"Bearer " + ANN[:-1]},
        {b"authorization": b"Bearer " + sha256(ANN).hexdigest().encode()},
        {b"x-api-key": line("ann", ANN).encode()}, {b"x-api-key": b"\xff\x00"},
        {b"x-api-key": b"k" * 10_000}, {b"authorization": ANN},
    ],
)  # fmt: skip
def test_who_has_none_is_refused(headers: Mapping[bytes, bytes]) -> None:
    with pytest.raises(Unauthorized):
        who(headers)


def test_without_any_key_nobody_is_let_in() -> None:
    admit = admitting(KEYS, "", "tests.keyed")
    assert admit is not None
    with pytest.raises(Unauthorized):
        admit({b"authorization": b"Bearer " + sha256(b"").digest()})


@pytest.mark.parametrize("setting", ["ann", "ann=secret", f"a b={line('', ANN)}", "=sha256:00"])
def test_keys_that_are_none_stop_the_start_and_are_not_told(setting: str) -> None:
    with pytest.raises(Misconfigured, match=r"keys of tests\.keyed .*sha256sum") as refused:
        admitting(KEYS, setting, "tests.keyed")
    assert "secret" not in str(refused.value)


def test_a_handler_knows_who_asks_and_strangers_are_refused_before_their_body(
    hosted: Hosted, rig: Rig
) -> None:
    asked: list[Principal] = []

    def ingest(received: Received) -> Reply:
        asked.append(received.who)
        return Reply(())

    gate = Gate(admitting(KEYS, SETTING, "tests.keyed"), None)
    rig.edge.add("POST", "/keyed", replace(note_endpoint, ingest=ingest, gate=gate))
    authorized = (("authorization", f"Bearer {ANN.decode()}"),)
    for _ in range(2):  # the second time its head is known
        assert ask(hosted, rig, Request(path="/keyed", headers=authorized)).status == 204
    stranger = ask(hosted, rig, Request(path="/keyed", pieces=(), complete=False))
    assert stranger.error == (401, "unauthorized")
    assert stranger.headers["www-authenticate"] == "Bearer"
    assert asked == [Principal("ann")] * 2
    assert account(rig.log)[1] == 1


def test_who_was_let_in_is_not_who_asks_next_on_the_same_connection(rig: Rig) -> None:
    """Behind a proxy clients share connections."""
    asked: list[Principal] = []

    def ingest(received: Received) -> Reply:
        asked.append(received.who)
        return Reply(())

    gate = Gate(admitting(KEYS, SETTING, "tests.keyed"), None)
    rig.edge.add("POST", "/keyed", replace(note_endpoint, ingest=ingest, gate=gate))
    stranger = b"POST /keyed HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n"
    known = b"POST /keyed HTTP/1.1\r\nhost: x\r\nx-api-key: %b\r\ncontent-length: %d\r\n\r\n"

    chunked = known.replace(b"content-length: %d", b"transfer-encoding: chunked") % ANN

    async def work() -> list[int]:
        async with served(rig) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            statuses = []
            for head, body in (
                (stranger, b"1"),
                (chunked, b""),
                (b"", b"5dc\r\n%b\r\n0\r\n\r\n" % (b"x" * 1_500)),
                (stranger, b"1"),
                (known % (ANN, 1), b"1"),
                (stranger, b"1"),
            ):
                writer.write(head + body)
                if not head or len(body) == 1:
                    answer = await reader.readuntil(b"\r\n\r\n")
                    statuses.append(int(answer.split()[1]))
                    length = re.search(rb"content-length: (\d+)", answer)
                    await reader.readexactly(int(length[1]) if length else 0)
            writer.close()
            return statuses

    assert asyncio.run(work()) == [401, 413, 401, 204, 401]
    assert asked == [Principal("ann")]
