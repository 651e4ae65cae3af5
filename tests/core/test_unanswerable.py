"""Whatever a handler raises or returns, who asked is answered, and the request is counted out."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from penstock.core.edge import Received, Refused, Reply, Response
from penstock.core.edge.endpoints import AnswerEndpoint
from penstock.core.errors import PenstockError, Rejected
from support.asking import Hosted, ask
from support.hosts import Request, Rig, note_endpoint
from support.notes import Noted

PATH = "/odd"
DEAR = (b"\n" * 200,)
HALF = "half \udcff"


class Mute(Rejected):
    """Its words are gone, as those of an application's own kind may be."""

    def __init__(self) -> None:
        Exception.__init__(self)


class Untellable(ValueError):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def wrong(value: Any) -> Any:
    """As an application may have it that is checked by nobody."""
    return value


RAISED: list[BaseException] = [
    SystemExit(0),
    KeyboardInterrupt(),
    asyncio.CancelledError(),
    Untellable(),
    Mute(),
    ValueError(HALF),
]
RETURNED: list[Response] = [
    wrong(None),
    wrong({}),
    Response(200, wrong("text")),
    Response(200, b"", wrong((("a", "b"),))),
    Response(999),
    Response(wrong("200")),
]


def raising(error: BaseException) -> Callable[..., Any]:
    def handle(*asked: object) -> Any:
        raise error

    return handle


def noting(response: Response) -> Callable[[Received], Reply]:
    return lambda _: Reply((Noted(1),), response)


def looking(handle: Callable[[], Response | Reply]) -> AnswerEndpoint:
    async def answer(received: Received) -> Response | Reply:
        return handle()

    return AnswerEndpoint(operation="tests.odd", body_bytes_max=1_000, answer=answer)


def is_a_500(hosted: Hosted, rig: Rig) -> None:
    """And it has one line, with its traceback; the next request is answered too."""
    for pieces in ((b"short",), DEAR):
        answer = ask(hosted, rig, Request(path=PATH, pieces=pieces))
        assert answer.error == (500, "internal")
        (line,) = rig.lines.named("request.failed")
        assert line["exc_info"] is not None
        rig.lines.lines.clear()
    assert ask(hosted, rig, Request()).status == 204


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_whatever_is_raised_is_a_500(hosted: Hosted, rig: Rig, error: BaseException) -> None:
    """On the loop, on the thread of dear bodies, and in what is asked of the stores."""
    rig.edge.add("POST", PATH, replace(note_endpoint, ingest=raising(error)))
    is_a_500(hosted, rig)
    looked = Rig()
    looked.edge.add("POST", PATH, looking(raising(error)))
    is_a_500(hosted, looked)


@pytest.mark.parametrize("response", RETURNED, ids=repr)
def test_what_is_no_response_is_a_500(hosted: Hosted, response: Response) -> None:
    """Of an ingest, of what looks first, and of what is asked of an event that is stored."""

    async def told(event: bytes) -> Response:
        return response

    for endpoint in (
        replace(note_endpoint, ingest=noting(response)),
        replace(note_endpoint, ask=told),
        looking(lambda: response),
    ):
        rig = Rig()
        rig.edge.add("POST", PATH, endpoint)
        is_a_500(hosted, rig)


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), ValueError(HALF)])
def test_an_event_that_cannot_be_told_of_is_a_500(hosted: Hosted, error: BaseException) -> None:
    async def told(event: bytes) -> Response:
        raise error

    rig = Rig()
    rig.edge.add("POST", PATH, replace(note_endpoint, ask=told))
    is_a_500(hosted, rig)


@pytest.mark.parametrize(
    "error",
    [
        Rejected(HALF),
        Rejected("a", code=HALF),
        Rejected("a", field=HALF),
        Rejected("a", detail=HALF),
    ],
)
def test_half_a_pair_is_told_as_its_escape(hosted: Hosted, rig: Rig, error: PenstockError) -> None:
    rig.edge.add("POST", PATH, replace(note_endpoint, ingest=raising(error)))
    for pieces in ((b"short",), DEAR):
        answer = ask(hosted, rig, Request(path=PATH, pieces=pieces))
        assert answer.status == 400
        assert (b"udcff" in answer.body) == ("udcff" in error.message + error.code + error.field)


@pytest.mark.parametrize("spelled", [*RETURNED[:2], *RAISED[:3]], ids=repr)
def test_a_spelling_that_is_none_is_ours(hosted: Hosted, rig: Rig, spelled: Any) -> None:
    def spell(refused: Refused) -> Response:
        if isinstance(spelled, BaseException):
            raise spelled
        made: Response = spelled
        return made

    rig.edge.add("POST", PATH, replace(note_endpoint, refusal=spell))
    answer = ask(hosted, rig, Request(path=PATH, pieces=(b"reject",)))
    assert answer.error == (400, "bad_field")
