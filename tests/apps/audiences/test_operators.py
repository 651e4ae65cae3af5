"""Operators do not queue behind users, and hear of what hangs in bounded time."""

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from apps.audiences.served import Answer, Ask, Served
from penstock.core import health
from penstock.core.clock import SystemClock
from penstock.core.control import Control
from penstock.core.errors import NotReady
from penstock.core.platform.pools import _QUERY_THREADS
from penstock.core.tls import Address
from support.endless import endless

ASKED = ("/healthz", "/readyz", "/metrics", "/api/pipeline")
PATIENCE_SECONDS = 60.0
FRESH_SECONDS = 60.0
"""So long what was seen last is an answer: a look takes seconds on a busy machine. Tests leap."""
LEAP_SECONDS = FRESH_SECONDS + 10


class LeapingClock(SystemClock):
    """The system's, ahead by as much as a test says."""

    ahead_seconds = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_seconds


@contextmanager
def hanging(engine: object, call: str) -> Iterator[threading.Event]:
    """A call of the real thing hangs in here; the event says that somebody is in it."""
    real, met, free = getattr(engine, call), threading.Event(), threading.Event()

    def hang(*given: Any) -> Any:
        met.set()
        assert free.wait(PATIENCE_SECONDS)
        return real(*given)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(engine, call, hang)
        try:
            yield met
        finally:
            free.set()


@pytest.fixture(scope="module")
def clock() -> LeapingClock:
    return LeapingClock()


@pytest.fixture(scope="module", autouse=True)
def patient() -> Iterator[None]:
    """Not with a look that hangs."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("_READY_SECONDS_MAX", "_METRICS_SECONDS_MAX", "_STAGES_SECONDS_MAX"):
            patched.setattr(health, name, FRESH_SECONDS)
        yield


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, clock: LeapingClock) -> Iterator[Served]:
    limits = {"PENSTOCK_REQUESTS_IN_FLIGHT_MAX": "20"}
    platform = Served(tmp_path_factory.mktemp("operators"), limits, clock=clock)
    yield platform
    platform.close()


def test_operators_are_answered_while_every_thread_for_users_is_taken(served: Served) -> None:
    for path in ASKED:
        until(served, path, 200)
    tables, told = served.platform.require_stores().tables, list[object]()

    def ask(question: str) -> None:
        told.append(tables.query(question, {}))

    async def work(question: str) -> list[Answer]:
        asked = [served.platform.pools.run(partial(ask, question)) for _ in range(_QUERY_THREADS)]
        users.extend(map(asyncio.create_task, asked))
        await asyncio.sleep(0)
        answers = [await served._ask(Ask(path, method="GET")) for _ in range(5) for path in ASKED]
        assert told == []
        return answers

    async def gathered() -> None:
        await asyncio.gather(*users, return_exceptions=True)

    users: list[asyncio.Task[None]] = []
    with endless(served.folder, lambda: len(told) == _QUERY_THREADS) as question:
        assert {answer.status for answer in served.run(work(question))} == {200}
    served.run(gathered())


def test_the_tools_of_operators_are_let_in_while_users_are_refused(served: Served) -> None:
    control = Control(served.platform)
    control.offer()
    door = control.open(Address("http://127.0.0.1:1"))
    token = json.loads(door.read_bytes())["token"]
    topics = Ask("/api/control/topics", headers={"authorization": f"Bearer {token}"})
    users = Ask("/aggregates", "time_range=2022-03-01T00:00:00_2022-03-01T00:01:00"
                "&action=VIEW&aggregates=COUNT")  # fmt: skip
    answers = served.at_once([users] * 200 + [topics] * 3)
    assert 503 in {answer.status for answer in answers[:200]}
    assert [answer.status for answer in answers[200:]] == [200] * 3


@pytest.mark.parametrize(("store", "call"), [("warehouse", "ping"), ("state", "ping")])
def test_what_was_seen_last_answers_for_a_moment_and_then_who_hangs_is_named(
    served: Served, clock: LeapingClock, store: str, call: str
) -> None:
    until(served, "/readyz", 200)
    with hanging(getattr(served.platform.require_stores(), store), call) as met:
        assert met.wait(PATIENCE_SECONDS), "readiness is looked at, asked for or not"
        assert served.get("/readyz").status == 200
        clock.ahead_seconds += LEAP_SECONDS
        answers = served.at_once([Ask("/readyz", method="GET")] * 100)
        assert {answer.status for answer in answers} == {503}
        for answer in answers:
            ((check, problem),) = answer.json["problems"].items()
            hangs = re.fullmatch(r"no answer for ([0-9.]+) seconds", problem)
            assert check == store
            assert hangs is not None
            assert float(hangs[1]) >= LEAP_SECONDS
        threads = [thread.name for thread in threading.enumerate()]
        assert threads.count("penstock-ready") == 1
        until(served, "/metrics", 200)
    until(served, "/readyz", 200)


def until(served: Served, path: str, status: int) -> None:
    """The look that hung ends, and the next one finds what there is."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while served.get(path).status != status:
        assert time.monotonic() < deadline


def test_a_check_that_raises_is_a_problem_of_its_name_and_the_others_are_made(
    served: Served, clock: LeapingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: object) -> None:
        raise OSError(f"no such disk {len(given)}")

    with monkeypatch.context() as patched:
        patched.setattr(health, "_PATIENCE_SECONDS", PATIENCE_SECONDS)
        patched.setattr(served.platform.require_stores().state, "ping", broken)
        patched.setattr("penstock.core.health.shortage", broken)
        clock.ahead_seconds += 1
        got = served.get("/readyz")
        assert got.status == 503
        found = got.json["problems"]  # and of views what they met in another test, for a moment
        assert (found["disk"], found["state"]) == ("OSError", "OSError")
    until(served, "/readyz", 200)


def test_metrics_are_those_of_a_moment_ago_while_one_hangs_and_none_at_all_after_that(
    served: Served, clock: LeapingClock
) -> None:
    until(served, "/metrics", 200)
    with hanging(served.platform.follow, "totals"):
        assert served.get("/metrics").status == 200
        clock.ahead_seconds += LEAP_SECONDS
        assert served.get("/metrics").error == (503, "not_ready")
        until(served, "/readyz", 200)
    until(served, "/metrics", 200)


def test_a_figure_that_cannot_be_had_is_missing_and_no_other(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: object) -> None:
        raise FileNotFoundError(str(given))

    before = served.metric("penstock_samples_failed_total") or 0
    served.lines.clear()
    with monkeypatch.context() as patched:
        patched.setattr(health, "_PATIENCE_SECONDS", PATIENCE_SECONDS)
        patched.setattr(served.platform.follow, "totals", broken)
        text = served.get("/metrics")
    assert text.status == 200
    assert b"penstock_events_stored_total{" not in text.body
    assert b"penstock_disk_free_bytes " in text.body
    assert (served.metric("penstock_samples_failed_total") or 0) > before
    (line,) = [line for line in served.lines if line["event"] == "metrics.failed"]
    assert "FileNotFoundError" in line["error"]
    assert served.metric('penstock_events_stored_total{topic="audiences.tags"}') == 0


def test_the_pipeline_tells_what_is_known_though_the_rest_is_away(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*given: object) -> None:
        raise NotReady(f"away: {given}")

    whole = served.get("/api/pipeline").json["projections"]
    assert {stage["quarantined"] for stage in whole} == {0}
    with monkeypatch.context() as patched:
        patched.setattr(served.platform.follow, "end", away)
        patched.setattr(served.platform.require_stores().state, "scan", away)
        got = served.get("/api/pipeline")
    assert got.status == 200
    for stage, partial_stage in zip(whole, got.json["projections"], strict=True):
        assert partial_stage["position"] == stage["position"]
        assert partial_stage["last_error"].startswith("away")
        assert partial_stage["quarantined"] is None
    until(served, "/readyz", 200)
