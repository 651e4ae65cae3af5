"""Bodies that are dear to judge: the same is decided elsewhere, in a process of its own."""

import asyncio
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import NoReturn

import msgspec
import pytest

from penstock.core import codings
from penstock.core.edge import Received, Reply, judging
from penstock.core.edge.endpoints import Way
from penstock.core.edge.judging import Defect, Judged, Part
from penstock.core.errors import (
    MethodNotAllowed,
    NotReady,
    PenstockError,
    RateLimited,
    Rejected,
    Unauthorized,
    UnsupportedType,
)
from penstock.core.events import Event
from penstock.core.projection import Topic
from penstock.core.projects import DEFAULT_PROJECT, name_of, order_of
from penstock.core.worker import Worker
from support.asking import Hosted, ask
from support.hosts import BODY_BYTES_MAX, SECRET, Request, Rig, note_endpoint
from support.lines import Lines
from support.logs import account, contents
from support.notes import NOTES, Noted, codec
from support.workers import PATHS

JUDGES = "from support.workers import judges; judges()"
KEYED = {b"idempotency-key": b"k1"}
BODIES = {
    "one event": (b"", b"a note"),
    "coded": (b"gzip", gzip.compress(b"a note")),
    "no event, some refused": (b"", b"nothing"),
    "refused": (b"", b"reject"),
    "not what its coding says": (b"deflate", b"a note"),
    "too large once inflated": (b"deflate", zlib.compress(bytes(BODY_BYTES_MAX + 1))),
}


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PATHS)
        worker = Worker(JUDGES, None, Lines().logger)
        yield worker
        worker.rest()


def outcome(coding: bytes, body: bytes, worker: Worker | None = None) -> object:
    """What it is judged to be, elsewhere if there is a worker."""
    received = Received("POST", ("x",), b"q=1", KEYED, b"", "192.0.2.1", 1_000)
    try:
        if worker is not None:
            return judging.ask(worker.ask, note_endpoint, received, body, coding=coding, keyed=True)
        if coding:
            body = codings.inflate(coding, body, BODY_BYTES_MAX)
        received = msgspec.structs.replace(received, body=body)
        return judging.judge(note_endpoint, received, keyed=True)
    except PenstockError as error:
        return type(error), error.message, error.code, error.retry_after


@pytest.mark.parametrize(("coding", "body"), BODIES.values(), ids=BODIES)
def test_elsewhere_the_same_is_decided(worker: Worker, coding: bytes, body: bytes) -> None:
    """Reliability 42."""
    here, there = outcome(coding, body), outcome(coding, body, worker)
    if isinstance(here, Judged):
        assert isinstance(there, Judged)
        assert msgspec.json.encode(there) == msgspec.json.encode(here)
    else:
        assert there == here


def test_a_defect_comes_back_with_its_traceback(worker: Worker) -> None:
    with pytest.raises(Defect, match=f"(?s)_ingest.*{SECRET}"):
        outcome(b"", b"fail", worker)


class Shouted(Noted, frozen=True, array_like=True, gc=False, tag="shouted/1"):
    """Of another topic than notes."""


class Whispered(Noted, frozen=True, array_like=True, gc=False, tag="whispered/1"):
    """Of none that the operation emits to."""


SHOUTS: Topic[Shouted] = Topic("tests.shouts", (Shouted,))
shouts = SHOUTS.codec()
to_shouts = Way(SHOUTS.name, shouts.encode, shouts.of, lambda event: event.word.encode())


def judged(*events: Event, project: str = DEFAULT_PROJECT) -> Judged:
    endpoint = replace(
        note_endpoint,
        ways={**note_endpoint.ways, Shouted: to_shouts},
        ingest=lambda _: Reply(events, idempotency_key="k"),
    )
    received = Received("POST", (), b"", {}, b"", "", 0, project=project)
    return judging.judge(endpoint, received, keyed=True)


def test_an_event_names_its_topic_by_its_type() -> None:
    events = [Noted(1), Shouted(2, "b"), Noted(3), Shouted(4, "a")]
    for project in (DEFAULT_PROJECT, "acme"):
        note, shout = codec.of(project), shouts.of(project)
        assert judged(*events, project=project).parts == [
            Part(NOTES.name, [note(Noted(1)), note(Noted(3))], [b"", b""]),
            Part(
                SHOUTS.name,
                [shout(Shouted(2, "b")), shout(Shouted(4, "a"))],
                [order_of(project, b"b"), order_of(project, b"a")],
            ),
        ]
        [alone] = judged(Shouted(2, "b"), project=project).parts
        assert (alone.topic, list(alone.payloads)) == (SHOUTS.name, [shout(Shouted(2, "b"))])


@pytest.mark.parametrize("events", [[Whispered(1)], [Noted(1), Whispered(1)]])
def test_an_event_of_no_topic_of_the_operation_is_a_defect(events: list[Event]) -> None:
    told = "says Whispered, which none of its topics has; add the topic to `emits`"
    for project in (DEFAULT_PROJECT, "acme"):
        with pytest.raises(LookupError, match=told) as raised:
            judged(*events, project=project)
        assert not isinstance(raised.value, KeyError)  # it would be told in quotes


def test_a_key_of_one_project_is_not_that_of_another() -> None:
    keys = [judged(Noted(1), project=of).idempotency_key for of in (DEFAULT_PROJECT, "a", "b")]
    assert keys[0] == "k"
    assert len({*keys}) == 3
    sly = [name_of(DEFAULT_PROJECT, name_of("a", "k")), name_of("a", "k")]
    assert sly[0] != sly[1]


class OfAnApplication(Rejected):
    """An application's own kind."""

    default_code = "own"


@pytest.mark.parametrize(
    "error",
    [
        OfAnApplication("no"),
        UnsupportedType("no", accepts="gzip"),
        NotReady("no", retry_after=7, detail="a folder"),
        MethodNotAllowed(("GET",)),
        Unauthorized("no", code="no_such_key"),
        RateLimited("no", retry_after=9),
        PenstockError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_refusal_is_told_as_it_was(error: PenstockError) -> None:
    def refuse(received: Received) -> NoReturn:
        raise error

    endpoint = replace(note_endpoint, ingest=refuse)
    received = Received("POST", (), b"", {}, b"", "", 0)
    handle = judging.answer({endpoint.operation: endpoint})
    with pytest.raises(PenstockError) as told:
        judging.ask(handle, endpoint, received, b"", coding=b"", keyed=False)
    assert isinstance(error, type(told.value))
    assert (told.value.status, told.value.message, told.value.code, told.value.retry_after) == (
        error.status, error.message, error.code, error.retry_after,
    )  # fmt: skip
    assert told.value.headers == error.headers
    assert str(told.value) == error.message  # its detail is for lines of the process that has it


def test_through_the_edge_coded_notes_are_stored_and_defects_told_as_such(
    hosted: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", PATHS)
    rig = Rig(judge=Worker(JUDGES, None, Lines().logger))

    async def asked() -> None:
        headers = (("Content-Encoding", "gzip"),)
        async with hosted(rig) as host:
            told = []
            for body in (b"a note", b"reject", b"fail", b"die", b"another note"):
                answer = await host.ask(Request(pieces=(gzip.compress(body),), headers=headers))
                assert answer is not None
                told.append((answer.status, msgspec.json.decode(answer.body or b"{}").get("error")))
            assert told == [
                (204, None), (400, "bad_field"), (500, "internal"), (503, "not_ready"), (204, None),
            ]  # fmt: skip

    asyncio.run(asked())
    assert [codec.decode(record).number for record in contents(rig.log)] == [6, 12]
    assert account(rig.log)[1:] == (5, 2, 0, 3)
    assert "_ingest" in str(rig.lines.named("request.failed")[0]["exc_info"])


@pytest.mark.parametrize(
    ("body", "elsewhere"),
    [(b"a note\n" * 128, True), (b"a note\n" * 127, False), (b"a note" * 128, False)],
)
def test_a_body_of_many_lines_is_not_judged_on_the_loop(
    hosted: Hosted, rig: Rig, monkeypatch: pytest.MonkeyPatch, body: bytes, elsewhere: bool
) -> None:
    """Nobody has any patience, and only elsewhere there is a queue (reliability 42)."""
    monkeypatch.setattr("penstock.core.edge.judges._WAIT_SECONDS_MAX", -1)
    assert ask(hosted, rig, Request(pieces=(body,))).status == (503 if elsewhere else 204)


def test_who_is_not_judged_in_time_is_told_so(
    hosted: Hosted, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.core.edge.judges._WAIT_SECONDS_MAX", -1)
    headers = (("Content-Encoding", "gzip"),)
    answer = ask(hosted, rig, Request(pieces=(gzip.compress(b"a note"),), headers=headers))
    assert answer.error == (503, "overloaded")
    assert answer.headers["retry-after"] == "1"
    assert account(rig.log)[1:] == (1, 0, 0, 1)
