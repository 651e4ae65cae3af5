"""Refusing on purpose: too much at once, a disk that is full, a defect. The edge role is enough."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apps.audiences.served import Ask, Served
from apps.audiences.tags import NOW_MS, a_tag, encoded
from penstock.core.clock import SystemClock
from penstock.core.edge import Received, Reply
from penstock.core.edge.endpoints import IngestEndpoint

TAG = Ask("/user_tags", body=encoded(a_tag()))
STORED = 'penstock_events_stored_total{topic="audiences.tags"}'
DUPLICATE = 'penstock_events_duplicate_total{topic="audiences.tags"}'
HOUR_MS = 3_600_000

Edge = Callable[..., Served]


class SetClock(SystemClock):
    """Wall time stands until it is moved, and then as much has passed."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def monotonic(self) -> float:
        return super().monotonic() + (self.ms - NOW_MS) / 1000

    def now_ms(self) -> int:
        return self.ms


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    opened: list[Served] = []

    def open_edge(clock: SystemClock | None = None, **environment: str) -> Served:
        named = {f"PENSTOCK_{name.upper()}": value for name, value in environment.items()}
        opened.append(Served(tmp_path, named, clock=clock, roles=["edge"]))
        return opened[-1]

    yield open_edge
    for served in opened:
        served.close()


@pytest.mark.parametrize("limit", ["requests_in_flight_max", "queue_records_max"])
def test_au_91_too_much_at_once_is_answered_503_and_stored_not_at_all(
    edge: Edge, limit: str
) -> None:
    served = edge(**{limit: "3"})
    answers = served.at_once([TAG] * 40)
    stored = [answer for answer in answers if answer.status == 204]
    refused = [answer for answer in answers if answer.status != 204]
    assert refused
    for answer in refused:
        assert answer.error == (503, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
    assert served.ask(TAG).status == 204
    assert served.metric(STORED) == len(stored) + 1
    assert served.platform.edge.in_flight == 0


def test_au_110_health_and_metrics_are_answered_while_tags_are_shed(edge: Edge) -> None:
    served = edge(requests_in_flight_max="2")
    asked = [Ask(path, method="GET") for path in ("/healthz", "/readyz", "/metrics")]
    answers = served.at_once([TAG] * 20 + asked)
    assert 503 in {answer.status for answer in answers[:20]}
    assert [answer.status for answer in answers[20:]] == [200, 200, 200]


def test_au_25_what_cannot_be_made_durable_is_answered_503_and_never_204(edge: Edge) -> None:
    served = edge(disk_free_bytes_min=str(2**62))
    for ask in (TAG, Ask("/user_tags/batch", body=TAG.body)):
        got = served.ask(ask)
        assert got.error == (503, "not_ready")
    assert served.metric(STORED) == 0
    assert (served.get("/readyz").status, served.get("/healthz").status) == (503, 200)


def test_au_28_a_key_is_remembered_for_a_day(edge: Edge) -> None:
    clock = SetClock()
    served = edge(clock)
    ask = TAG._replace(headers={"idempotency-key": "daily"})
    for hours, stored in ((0, 1), (1, 1), (22, 1), (25, 2), (26, 2)):
        clock.ms = NOW_MS + hours * HOUR_MS
        assert served.ask(ask).status == 204
        assert served.metric(STORED) == stored
    assert served.metric(DUPLICATE) == 3


def test_au_30_a_tag_far_ahead_of_the_server_is_answered_400(edge: Edge) -> None:
    clock = SetClock()
    served = edge(clock, audiences_max_future_skew_hours="1")
    ahead = Ask("/user_tags", body=encoded(a_tag(time="2023-11-15T00:00:00Z")))
    assert served.ask(ahead).error == (400, "bad_time")
    clock.ms += HOUR_MS
    assert served.ask(ahead).status == 204


def test_au_112_a_defect_is_answered_500_told_to_nobody_and_logged_once(edge: Edge) -> None:
    served = edge()

    def broken(received: Received) -> Reply:
        raise ZeroDivisionError(received.body)

    endpoint = IngestEndpoint(
        operation="broken",
        body_bytes_max=99,
        topic="audiences.tags",
        ways={},
        ingest=broken,
    )
    served.platform.edge.add("POST", "/broken", endpoint)
    got = served.ask(Ask("/broken", body=b"secret"))
    assert got.error == (500, "internal")
    assert b"secret" not in got.body
    assert b"Zero" not in got.body
    (line,) = served.told()
    assert (line["level"], line["status"]) == ("error", 500)
    assert "ZeroDivisionError" in line["exception"]
    assert line["request_id"] == got.headers["x-request-id"]
    assert served.platform.edge.in_flight == 0
