"""What a run tells: counters (AU-130), scores (AU-131), latencies and resources (AU-133)."""

from dataclasses import dataclass, field

import msgspec

from penstock.load.client import Failure
from penstock.load.histogram import Durations, Histogram
from penstock.load.workload import Facts

WRONG_SHOWN_MAX = 10
TEXT_SHOWN_MAX = 2_000
_CODE_SHOWN_MAX = 40


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of request. `exact`, `wrong` and `expected_empty` count graded answers."""

    sent: int
    status_2xx: int
    status_4xx: int
    status_5xx: int
    status_other: int
    connect_errors: int
    timeouts: int
    disconnects: int
    queue_overflows: int
    exact: int
    wrong: int
    expected_empty: int
    failures: dict[str, int]
    """What became of those without a 2xx answer: `503 overloaded`, `timeout`."""
    latency: Durations


class WrongAnswer(msgspec.Struct, frozen=True, kw_only=True):
    request: str
    difference: str
    expected: str
    got: str


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """From the answer that a sampled event is accepted to the first one that shows it."""

    delay: Durations
    overdue: int


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """None where it could not be measured."""

    client_cpu_seconds: float
    client_cpu_us_per_request: float
    server_cpu_seconds: float | None
    server_peak_rss_bytes: int | None
    disk_bytes: int | None
    write_amplification: float | None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    run: str
    rate: int | None
    seed: int
    seconds: float
    first_index: int
    accepted: int
    """Events of the run proper."""
    indeterminate: int
    """Events of which nobody knows whether they are stored."""
    scores: dict[str, float | None]
    """By the kind of query, out of 100; None where none was answered."""
    facts: Facts
    """What the workload says besides."""
    kills: int
    perfect: bool
    reasons: list[str]
    """Why it is not perfect."""
    operations: dict[str, Operation]
    send_lag: Durations
    """From the intended to the actual sending; the client's own share of the latencies."""
    freshness: dict[str, Freshness]
    """By the kind of query."""
    resources: Resources
    wrong_answers: list[WrongAnswer]


@dataclass(slots=True)
class Tally:
    """The running counts of one operation."""

    sent: int = 0
    outcomes: dict[int, int] = field(default_factory=dict)
    exact: int = 0
    wrong: int = 0
    expected_empty: int = 0
    latency: Histogram = field(default_factory=Histogram)
    failures: dict[str, int] = field(default_factory=dict)

    def end(self, status: int, seconds: float, body: bytes = b"") -> None:
        """One request has its answer, or none; `body` is what a refusal says."""
        self.outcomes[status] = self.outcomes.get(status, 0) + 1
        if status // 100 != 2:
            cause = _cause(status, body)
            self.failures[cause] = self.failures.get(cause, 0) + 1
        if status > 0 or status == Failure.TIMEOUT:
            self.latency.record(seconds)

    @property
    def failed(self) -> int:
        """Requests that did not get a 2xx answer."""
        return sum(count for status, count in self.outcomes.items() if status // 100 != 2)

    def operation(self) -> Operation:
        classes = dict.fromkeys((2, 4, 5), 0)
        other = 0
        for status, count in self.outcomes.items():
            if status // 100 in classes:
                classes[status // 100] += count
            elif status > 0:
                other += count
        failures = {failure: self.outcomes.get(failure, 0) for failure in Failure}
        return Operation(
            sent=self.sent,
            status_2xx=classes[2],
            status_4xx=classes[4],
            status_5xx=classes[5],
            status_other=other,
            connect_errors=failures[Failure.CONNECT],
            timeouts=failures[Failure.TIMEOUT],
            disconnects=failures[Failure.DISCONNECT],
            queue_overflows=failures[Failure.QUEUE_FULL],
            exact=self.exact,
            wrong=self.wrong,
            expected_empty=self.expected_empty,
            failures=dict(sorted(self.failures.items())),
            latency=self.latency.durations(),
        )


class _Refusal(msgspec.Struct, frozen=True):
    error: str


def _cause(status: int, body: bytes) -> str:
    """In a few words that do not differ between requests: a status and its code, or no answer."""
    if status < 0:
        return Failure(status).name.lower().replace("_", " ")
    try:
        return f"{status} {msgspec.json.decode(body, type=_Refusal).error[:_CODE_SHOWN_MAX]}"
    except msgspec.DecodeError:
        return f"{status} without a code"


def score(tally: Tally, *, answered_only: bool) -> float | None:
    """Out of 100; unanswered queries are not ok, unless killing the server excuses them."""
    graded = tally.exact + tally.wrong + (0 if answered_only else tally.failed)
    return round(100 * tally.exact / graded, 4) if graded else None
