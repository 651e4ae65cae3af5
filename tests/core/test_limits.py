"""Limits: buckets of tokens, told of as the draft of the IETF has it, however many come."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.edge import ANYBODY, Principal, Refused, Response
from penstock.core.edge.gate import Gate
from penstock.core.edge.limits import Limit, Limits
from penstock.core.errors import RateLimited
from penstock.core.ingesting import gate
from penstock.core.manifest import Ingest
from penstock.core.settings import Settings
from support.asking import Hosted, ask
from support.hosts import BODY_BYTES_MAX, Request, Rig, note_endpoint
from support.logs import account

SECOND = 1_000_000_000
DAY = 86_400


class Clock:
    """Nanoseconds of a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 5 * SECOND

    def __call__(self) -> int:
        return self.now


def asked(limits: Limits, client: str = "192.0.2.1", who: Principal = ANYBODY) -> int:
    """0, or after how many seconds to ask again."""
    try:
        limits.take(client, "default", who)
    except RateLimited as refused:
        return refused.retry_after
    return 0


def test_so_many_at_once_and_then_as_many_as_come_back() -> None:
    clock = Clock()
    limits = Limits([Limit(per="client", rate=2, burst=5)], now=clock)
    assert [asked(limits) for _ in range(7)] == [0, 0, 0, 0, 0, 1, 1]
    assert asked(limits, "192.0.2.2") == 0
    clock.now += SECOND // 2
    assert [asked(limits) for _ in range(2)] == [0, 1]
    clock.now += 3600 * SECOND
    assert [asked(limits) for _ in range(6)] == [0, 0, 0, 0, 0, 1]


def test_whoever_waits_as_long_as_told_gets_through() -> None:
    clock = Clock()
    limits = Limits([Limit(per="client", rate=100, seconds=86_400)], now=clock)
    assert [asked(limits) for _ in range(100)] == [0] * 100
    wait = asked(limits)
    assert wait == 864
    clock.now += (wait - 1) * SECOND
    assert asked(limits) == 1
    clock.now += SECOND
    assert [asked(limits), asked(limits) > 0] == [0, True]


@given(
    st.integers(1, 50),
    st.integers(1, 100),
    st.integers(0, 60),
    st.lists(st.integers(0, SECOND), max_size=200),
)
def test_no_window_holds_more_than_burst_and_rate(
    rate: int, seconds: int, burst: int, steps: list[int]
) -> None:
    clock = Clock()
    limits = Limits([Limit(per="client", rate=rate, seconds=seconds, burst=burst)], now=clock)
    passed = []
    for step in steps:
        clock.now += step
        if asked(limits) == 0:
            passed.append(clock.now)
    most = burst or rate
    for first, began in enumerate(passed):
        for last, ended in enumerate(passed[first:], 1):
            assert last <= most + (ended - began) // (seconds * SECOND // rate) + 1


def test_of_several_limits_the_refused_takes_no_token_of_any() -> None:
    clock = Clock()
    limits = Limits(
        [Limit(per="client", rate=1), Limit(per="caller", rate=3, seconds=60)], now=clock
    )
    ann = Principal("ann")
    assert [asked(limits, who=ann) for _ in range(50)] == [0] + [1] * 49
    for _ in range(2):
        clock.now += SECOND
        assert asked(limits, who=ann) == 0
    clock.now += SECOND
    assert asked(limits, who=ann) == 17
    assert asked(limits, who=Principal("bob")) == 0


def test_who_has_no_key_is_known_by_address_and_of_ipv6_by_network() -> None:
    limits = Limits([Limit(per="caller", rate=1)], now=Clock())
    assert [asked(limits, address) for address in ("2001:db8::1", "2001:db8::ffff:1")] == [0, 1]
    assert [asked(limits, address) for address in ("2001:db8:0:1::1", "192.0.2.1")] == [0, 0]
    assert asked(limits, "fe80::1%eth0") == 0


def test_a_project_has_one_bucket() -> None:
    limits = Limits([Limit(per="project", rate=1)], now=Clock())
    assert [asked(limits, "192.0.2.1"), asked(limits, "192.0.2.2")] == [0, 1]


def test_however_many_come_a_bounded_number_is_kept_and_those_who_ask_are_among_them() -> None:
    """Reliability 21."""
    limits = Limits([Limit(per="client", rate=1, seconds=86_400)], now=Clock(), callers_max=100)
    assert asked(limits, "busy") == 0
    for n in range(10_000):
        asked(limits, f"client {n}")
        assert max(limits.kept()) <= 100
        if n % 40 == 0:
            assert asked(limits, "busy") > 0


@pytest.mark.parametrize(
    "wrong", [{"rate": 0}, {"rate": 1, "seconds": 0}, {"rate": 1, "burst": -1}]
)
def test_a_limit_that_lets_nothing_through_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="allows at least one"):
        Limit(per="client", **wrong)
    with pytest.raises(ValueError, match="two limits"):
        Limits([Limit(per="client", rate=1), Limit(per="client", rate=2)])


# -- over a socket ------------------------------------------------------------------------------


def limited(rig: Rig, refusal: Callable[[Refused], Response] | None = None) -> None:
    minute, day = Limit(per="client", rate=1, seconds=60), Limit(per="client", rate=9, seconds=DAY)
    let_in = Gate(None, Limits([minute, day], now=Clock()))
    rig.edge.add("POST", "/limited", replace(note_endpoint, gate=let_in, refusal=refusal))


@pytest.mark.parametrize("length", [6, BODY_BYTES_MAX])
def test_beyond_a_limit_requests_are_answered_429_with_when_to_come_again(
    hosted: Hosted, rig: Rig, length: int
) -> None:
    limited(rig)
    request = Request(path="/limited", pieces=(b"x" * length,))
    assert ask(hosted, rig, request).status == 204
    answer = ask(hosted, rig, request)
    assert answer.error == (429, "rate_limited")
    assert answer.headers["retry-after"] == "60"
    assert (
        answer.headers["ratelimit-policy"] == '"client-60s";q=1;w=60, "client-86400s";q=9;w=86400'
    )
    assert answer.headers["ratelimit"] == '"client-60s";r=0;t=60'
    assert account(rig.log)[1:] == (2, 1, 0, 1)
    assert ask(hosted, rig, Request()).status == 204


def test_it_is_refused_before_the_body_has_come(hosted: Hosted, rig: Rig) -> None:
    limited(rig)
    assert ask(hosted, rig, Request(path="/limited")).status == 204
    waiting = Request(path="/limited", pieces=(), complete=False)
    assert ask(hosted, rig, waiting).error == (429, "rate_limited")


def test_whose_word_is_believed_is_limited_by_whom_it_names_and_nobody_else(
    hosted: Hosted,
) -> None:
    for trusted, second in (("", 429), ("127.0.0.1", 204)):
        rig = Rig(Settings(trusted_proxies=trusted))
        limited(rig)
        answers = [
            ask(hosted, rig, Request(path="/limited", headers=(("x-forwarded-for", named),)))
            for named in ("192.0.2.1", "192.0.2.2")
        ]
        assert [answer.status for answer in answers] == [204, second]


def test_a_limit_is_spelled_as_the_operation_spells(hosted: Hosted, rig: Rig) -> None:
    limited(rig, lambda refused: Response(refused.status, b"API Limit Reached"))
    request = Request(path="/limited")
    assert ask(hosted, rig, request).status == 204
    answer = ask(hosted, rig, request)
    assert (answer.status, answer.body) == (429, b"API Limit Reached")
    assert "ratelimit" in answer.headers


def test_limits_and_policies_may_come_from_settings() -> None:
    offer = SimpleNamespace(
        operation="tests.limited",
        access="anyone",
        limits=lambda rate: (Limit(per="client", rate=rate),),
    )
    made = gate(cast("Ingest", offer), 7)
    assert made is not None
    for _ in range(7):
        made.admit("192.0.2.1", {})
    with pytest.raises(RateLimited):
        made.admit("192.0.2.1", {})
