"""AU-28: a key stands for one request, and its repeats are told what was answered first."""

import gzip
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.audiences.served import Answer, Ask, Served
from apps.audiences.tags import a_tag, encoded
from apps.audiences.test_overload import HOUR_MS, SetClock
from support.logs import wait_until

ONE, OTHER = encoded(a_tag(cookie="one")), encoded(a_tag(cookie="other"))
MIXED = b"%b\n{\n%b" % (ONE, OTHER)
STORED, DUPLICATE, REJECTED = (
    f'penstock_events_{what}_total{{topic="audiences.tags"}}'
    for what in ("stored", "duplicate", "rejected")
)
REUSED = (422, "key_reused")


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def served(tmp_path: Path, clock: SetClock) -> Iterator[Served]:
    environment = {"PENSTOCK_AUDIENCES_MAX_FUTURE_SKEW_HOURS": "1"}
    opened = Served(tmp_path, environment, clock=clock, roles=["edge"])
    yield opened
    opened.close()


def tag(body: bytes = ONE, key: str = "k", query: str = "") -> Ask:
    return Ask("/user_tags", query, body, headers={"idempotency-key": key})


def headed(ask: Ask, **headers: str) -> Ask:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask._replace(headers={**ask.headers, **given})


def batch(body: bytes = MIXED, key: str = "k") -> Ask:
    return tag(body, key)._replace(path="/user_tags/batch")


def is_replayed(answer: Answer) -> bool:
    return answer.headers.get("idempotent-replayed") == "true"


# -- another request ----------------------------------------------------------------------------

OTHERS = {
    "another body": (tag(), tag(OTHER)),
    "another spelling of the body": (tag(), tag(ONE + b" ")),
    "another query": (tag(), tag(query="v=2")),
    "the batch with the same bytes": (tag(), batch(ONE)),
    "one tag with the bytes of a batch": (batch(ONE), tag()),
    "another batch": (batch(), batch(MIXED + b"\n" + ONE)),
}


@pytest.mark.parametrize(("first", "other"), OTHERS.values(), ids=OTHERS)
def test_another_request_under_a_key_is_refused_with_the_reason(
    served: Served, first: Ask, other: Ask
) -> None:
    """Reliability 49."""
    assert served.ask(first).status < 300
    before = [served.metric(name) or 0 for name in (STORED, DUPLICATE, REJECTED)]
    got = served.ask(other)
    assert got.error == REUSED
    assert "Idempotency-Key" in got.json["message"]
    assert not is_replayed(got)
    after = [served.metric(name) or 0 for name in (STORED, DUPLICATE, REJECTED)]
    assert after[:2] == before[:2]
    assert after[2] > before[2]
    # Nothing of it is lost: under a key of its own it is stored.
    headers = {"idempotency-key": "own"}
    assert served.ask(other._replace(headers=headers)).status < 300
    assert (served.metric(STORED) or 0) > before[0]


def test_what_was_refused_claims_no_key(served: Served) -> None:
    assert served.ask(tag(b"{")).error == (400, "bad_json")
    assert served.ask(tag()).status == 204
    assert served.ask(tag(OTHER)).error == REUSED
    assert served.ask(tag(OTHER, "l")).status == 204


# -- the same request ---------------------------------------------------------------------------

SAME = {
    "byte for byte": tag(),
    "coded": headed(tag(gzip.compress(ONE)), content_encoding="gzip"),
    "in chunks": headed(tag(), transfer_encoding="chunked")._replace(pieces=7),
    "with other headers": headed(tag(), content_type="application/json", x_request_id="2"),
}


@pytest.mark.parametrize("again", SAME.values(), ids=SAME)
def test_a_repeat_is_answered_as_the_first_and_marked(served: Served, again: Ask) -> None:
    """Reliability 12."""
    first = served.ask(tag())
    assert (first.status, is_replayed(first)) == (204, False)
    for _ in range(9):
        got = served.ask(again)
        assert (got.status, got.body, is_replayed(got)) == (204, b"", True)
    assert [served.metric(name) for name in (STORED, DUPLICATE)] == [1, 9]


def test_a_repeated_batch_says_what_was_answered_first_and_that_it_is_a_duplicate(
    served: Served, clock: SetClock
) -> None:
    ahead = encoded(a_tag(time="2023-11-15T00:00:00Z"))
    sent = batch(b"%b\n%b\n{" % (ONE, ahead))
    first = served.ask(sent)
    assert first.json["accepted"] == 1
    rejected = [(line["line"], line["error"]) for line in first.json["rejected"]]
    assert rejected == [(2, "bad_time"), (3, "bad_json")]
    clock.ms += 6 * HOUR_MS  # by now the second line would do
    for _ in range(2):
        got = served.ask(sent)
        assert (got.status, is_replayed(got)) == (200, True)
        assert got.body == first.body[:-1] + b',"duplicate":1}'
        assert got.headers["content-type"] == "application/json"
    assert served.metric(STORED) == 1


def test_a_long_answer_is_told_again_in_full(served: Served) -> None:
    sent = batch(b"\n".join([ONE, *[b"{"] * 999]))
    first, again = served.ask(sent).json, served.ask(sent).json
    assert again == {**first, "duplicate": 1}
    assert len(first["rejected"]) == 999


# -- at once, afterwards, and for how long ------------------------------------------------------


def test_of_two_requests_at_once_under_one_key_one_is_stored_and_the_other_refused(
    served: Served,
) -> None:
    """Reliability 49."""
    for turn in range(5):
        key = f"turn {turn}".replace(" ", "-")
        answers = served.at_once([tag(body, key) for body in (ONE, OTHER) * 10])
        told = sorted((answer.status, is_replayed(answer)) for answer in answers)
        assert told == [(204, False), *[(204, True)] * 9, *[(422, False)] * 10]
        assert served.metric(STORED) == turn + 1


def test_a_key_stands_for_its_request_after_a_restart(served: Served) -> None:
    first = served.ask(batch())
    served.reopen()
    got = served.ask(batch())
    assert is_replayed(got)
    assert got.json == {**first.json, "duplicate": 2}
    assert served.ask(batch(ONE)).error == REUSED
    assert served.metric(STORED) == 2


def test_after_its_window_a_key_is_forgotten_and_stands_for_another(
    served: Served, clock: SetClock
) -> None:
    """Reliability 12 and 49."""
    for number in range(50):
        served.ask(tag(key=f"k{number}"))
    assert served.metric("penstock_idempotency_keys") == 50
    clock.ms += 24 * HOUR_MS
    assert served.ask(tag(OTHER, "k1")).error == REUSED
    clock.ms += 1
    wait_until(lambda: served.metric("penstock_idempotency_keys") == 0)
    got = served.ask(tag(OTHER, "k1"))
    assert (got.status, is_replayed(got)) == (204, False)
    assert served.ask(tag(ONE, "k1")).error == REUSED


EXAMPLES = count()
"""They share a server, and no key."""


class Step(NamedTuple):
    ask: Callable[..., Ask]
    body: bytes
    key: str
    hours: int


steps = st.builds(
    Step,
    st.sampled_from([tag, batch]),
    st.sampled_from([ONE, OTHER, b"{"]),
    st.sampled_from(["k", "l"]),
    st.sampled_from([0, 0, 1, 23, 25]),
)


def end(served: Served) -> int:
    return served.platform.follow.end("audiences.tags", 0)


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(steps, min_size=2, max_size=10))
def test_every_history_is_answered_as_a_table_of_keys_says(
    served: Served, clock: SetClock, history: list[Step]
) -> None:
    """The model: by key, the request that was stored last and until when it is remembered."""
    held: dict[str, tuple[Ask, int]] = {}
    example = next(EXAMPLES)
    for step in history:
        clock.ms += step.hours * HOUR_MS
        sent = step.ask(step.body, f"{example}-{step.key}")
        was, until = held.get(step.key, (sent, 0))
        before, got = end(served), served.ask(sent)
        stored = end(served) - before
        if step.body == b"{":
            assert (got.status, stored) == ((200 if step.ask is batch else 400), 0)
        elif until < clock.ms:
            assert (got.status < 300, is_replayed(got), stored) == (True, False, 1)
            held[step.key] = (sent, clock.ms + 24 * HOUR_MS)
        elif was == sent:
            assert (got.status < 300, is_replayed(got), stored) == (True, True, 0)
        else:
            assert (got.error, stored) == (REUSED, 0)
