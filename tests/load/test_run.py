from dataclasses import replace

import pytest

from load.reference import (
    CountsTwice,
    DropsOneIn500,
    IncludesTheEnd,
    KeepsMoreThanTheDepth,
    LimitsFirst,
    ReferenceServer,
    RoundsMinutes,
    Store,
    StringifiesProducts,
    serving,
)
from penstock.load.audiences.plans import Options, Plan
from penstock.load.audiences.workload import Audiences
from penstock.load.report import Report
from penstock.load.run import run as driven

pytestmark = pytest.mark.slow


# Generous, as the machine that runs the tests may be busy.
def run(plan: Plan, options: Options) -> Report:
    return driven("test", plan, options, Audiences(options, plan))


TIMEOUTS = (60.0, 60.0, 60.0)
"""Nobody is given up on because the machine of the test does other things too."""


def a_plan(
    *, rate: int | None = 1_000, tags: int = 1_500, tail_cookies: int = 300, wait: float = 0.1
) -> Plan:
    return Plan(
        rate=rate,
        events=tags,
        profile_wait=wait,
        aggregate_wait=wait,
        aggregate_start=0.5,
        tail_wait=0.1,
        tail_cookies=tail_cookies,
    )


def graded(
    store: Store,
    plan: Plan,
    *,
    cookies: int = 100,
    delay_seconds: float = 0.0,
    timeouts: tuple[float, float, float] = TIMEOUTS,
    start_index: int = 0,
    preload: int = 0,
    send_expected: bool = False,
) -> Report:
    with serving(ReferenceServer(store, delay_seconds=delay_seconds)) as url:
        options = Options(
            url=url,
            cookies=cookies,
            connections=8,
            timeouts=timeouts,
            start_index=start_index,
            preload=preload,
            send_expected=send_expected,
        )
        return run(plan, options)


def test_au_129_a_correct_server_is_perfect() -> None:
    report = graded(Store(), a_plan())
    assert report.wrong_answers == []
    assert report.perfect
    assert report.accepted == 1_500
    profiles = report.operations["user_profiles"]
    assert profiles.exact == profiles.sent >= 100
    assert report.operations["aggregates"].exact == 1
    assert report.operations["tail_profiles"].exact == 100
    assert report.scores == {"user_profiles": 100.0, "aggregates": 100.0}
    assert report.facts["ms_of_a_logical_day"] == 1_500
    assert report.freshness["user_profiles"].delay.count >= 1


def test_au_129_a_closed_loop_is_graded_too() -> None:
    report = graded(Store(), a_plan(rate=None, tags=3_000))
    assert report.wrong_answers == []
    assert report.perfect
    assert report.accepted == 3_000


def test_au_88_tags_take_turns_at_several_edges() -> None:
    shared, idle = Store(), Store()
    with (
        serving(ReferenceServer(shared)) as queries,
        serving(ReferenceServer(shared)) as edge,
        serving(ReferenceServer(shared)) as other,
        serving(ReferenceServer(idle)) as nobody,
    ):
        options = Options(
            url=queries, ingest_url=(edge, other), cookies=100, connections=8, timeouts=TIMEOUTS
        )
        assert run(a_plan(), options).perfect
        assert len(shared.tags) == 1_500
        elsewhere = replace(options, ingest_url=(edge, nobody), seed=2)
        assert not run(a_plan(), elsewhere).perfect
    assert len(idle.tags) == 750


def test_au_31_a_run_continues_a_stream_that_was_preloaded() -> None:
    # Half a minute before a minute's end, so that closed minutes are asked for.
    report = graded(Store(), a_plan(), preload=59_000, cookies=2_000)
    assert report.wrong_answers == []
    assert report.perfect
    assert report.first_index == 59_000


@pytest.mark.parametrize(
    ("store", "cookies", "tags"),
    [
        (DropsOneIn500(), 100, 1_500),
        (CountsTwice(), 100, 1_500),
        (LimitsFirst(), 5, 1_500),
        (IncludesTheEnd(), 10, 1_500),
        (KeepsMoreThanTheDepth(), 3, 1_500),
        (StringifiesProducts(), 100, 1_500),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Store) else "",
)
def test_au_129_each_defect_is_found(store: Store, cookies: int, tags: int) -> None:
    report = graded(store, a_plan(tags=tags), cookies=cookies)
    assert not report.perfect
    assert report.wrong_answers
    assert report.wrong_answers[0].request.startswith("POST /")


def test_au_62_a_rounded_minute_is_found() -> None:
    report = graded(RoundsMinutes(), a_plan(tags=1_000), preload=59_500, cookies=2_000)
    assert not report.perfect
    assert report.operations["tail_aggregates"].wrong


def test_au_129_a_slow_server_times_out_and_is_not_perfect() -> None:
    plan = a_plan(rate=200, tags=100, tail_cookies=5)
    report = graded(Store(), plan, delay_seconds=1.0, timeouts=(0.05, 0.05, 30.0))
    assert not report.perfect
    assert report.operations["user_tags"].timeouts == 100
    assert report.indeterminate == 100
    # What timed out may be stored or not; either is a right answer.
    assert report.wrong_answers == []


def test_au_133_a_stall_is_charged_to_every_request_it_delays() -> None:
    plan = a_plan(rate=200, tags=100, tail_cookies=5)
    report = graded(Store(), plan, delay_seconds=0.1)
    latency = report.operations["user_tags"].latency
    # Eight connections serve 80 a second of the 200 offered: the queue shows in the latency.
    assert latency.p99_ms > 500
    assert report.send_lag.p99_ms > 400


def test_au_120_missing_history_is_found() -> None:
    report = graded(Store(), a_plan(tags=500), start_index=2_000)
    assert not report.perfect


def test_au_100_the_expected_answer_is_sent_along() -> None:
    server = ReferenceServer(Store())
    with serving(server) as url:
        options = Options(url=url, cookies=20, send_expected=True, timeouts=TIMEOUTS)
        report = run(a_plan(tags=800), options)
    assert report.perfect
    assert any(b'"views"' in body for body in server.bodies)
    assert any(b'"1m_bucket"' in body for body in server.bodies)
