"""Refusals: in our spelling, or in an operation's own, whoever it is that refuses."""

from dataclasses import replace

import pytest

from penstock.core.edge import Received, Refused, Reply, Response
from penstock.core.errors import (
    Conflict,
    Forbidden,
    OutOfSpace,
    PaymentRequired,
    PenstockError,
    RateLimited,
    Unauthorized,
    Unprocessable,
)
from penstock.core.settings import Settings
from support.asking import Hosted, ask
from support.hosts import BODY_BYTES_MAX, SECRET, Request, Rig, note_endpoint
from support.logs import account

GIF = b"GIF89a"
PIXEL = "/pixel"


def pixel(refused: Refused) -> Response:
    told = (
        (b"content-type", b"image/gif"),
        (b"x-told", f"{refused.status} {refused.code} {refused.request_id}".encode()),
    )
    return Response(200, GIF, told)


def rigged(settings: Settings | None = None) -> Rig:
    rig = Rig(settings)
    rig.edge.add("POST", PIXEL, replace(note_endpoint, operation="tests.pixel", refusal=pixel))
    return rig


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (Request(path=PIXEL, pieces=(b"reject",)), "400 bad_field"),
        (Request(path=PIXEL, pieces=(b"fail",)), "500 internal"),
        (Request(path=PIXEL, pieces=(b"x" * (BODY_BYTES_MAX + 1),)), "413 too_large"),
        (Request(path=PIXEL, headers=(("Content-Encoding", "compress"),)), "415 unsupported_type"),
        (Request(path=PIXEL, complete=False), "408 timeout"),
    ],
)
def test_an_operation_s_own_spelling_is_that_of_core_s_limits_too(
    hosted: Hosted, request_: Request, told: str
) -> None:
    rig = rigged(Settings(body_seconds_max=0.05))
    answer = ask(hosted, rig, request_)
    assert (answer.status, answer.body) == (200, GIF)
    assert answer.headers["content-type"] == "image/gif"
    status, code, request_id = answer.headers["x-told"].split()
    assert f"{status} {code}" == told
    assert answer.headers["x-request-id"] == request_id
    (line,) = [*rig.lines.named("request.refused"), *rig.lines.named("request.failed")]
    assert (line["status"], line["error"]) == (int(status), code)
    assert account(rig.log)[1:] == (1, 0, 0, 1)


def test_while_the_log_takes_nothing_it_is_spelled_so_too(hosted: Hosted) -> None:
    """Reliability 4."""
    rig = rigged()
    rig.log.failing = "the disk is full"
    answer = ask(hosted, rig, Request(path=PIXEL))
    assert answer.body == GIF
    assert answer.headers["x-told"].startswith("503 not_ready")
    assert int(answer.headers["retry-after"]) > 0
    assert ask(hosted, rig, Request()).error == (503, "not_ready")


def test_a_spelling_that_fails_is_ours_and_has_a_line(hosted: Hosted, rig: Rig) -> None:
    def fail(refused: Refused) -> Response:
        raise ValueError(SECRET)

    rig.edge.add("POST", PIXEL, replace(note_endpoint, refusal=fail))
    answer = ask(hosted, rig, Request(path=PIXEL, pieces=(b"reject",)))
    assert answer.error == (400, "bad_field")
    (line,) = rig.lines.named("request.failed")
    assert SECRET in str(line)


@pytest.mark.parametrize(
    ("error", "status", "lines"),
    [
        (Unauthorized(), 401, {"www-authenticate": "Bearer"}),
        (PaymentRequired(), 402, {}),
        (Forbidden(), 403, {}),
        (Conflict("it is older", code="older"), 409, {}),
        (Unprocessable(), 422, {}),
        (RateLimited(retry_after=9), 429, {"retry-after": "9"}),
        (OutOfSpace(), 507, {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_status_of_a_decision_reaches_the_client(
    hosted: Hosted, rig: Rig, error: PenstockError, status: int, lines: dict[str, str]
) -> None:
    def refuse(received: Received) -> Reply:
        raise error

    rig.edge.add("POST", "/decided", replace(note_endpoint, ingest=refuse))
    answer = ask(hosted, rig, Request(path="/decided"))
    assert answer.error == (status, error.code)
    assert answer.headers.items() >= lines.items()
