"""Logs and metrics.

One canonical line per failed request and per batch that did not go through: a constant dotted name
plus fields, never an interpolated sentence. Whatever goes wrong, and however often, lines stay
bounded: of each name one a second in the long run, none of them long, and none that raises at who
writes it. Metrics that the hot path touches are plain integers here and become Prometheus families
only when somebody asks.
"""

import logging
import sys
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol, TextIO

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from penstock.core.clock import Clock, SystemClock
from penstock.core.errors import told_of

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

Logger = structlog.typing.FilteringBoundLogger

LATENCY_BOUNDS = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0, 60.0,
)  # fmt: skip
_FIRST_SERVER_ERROR = 5
_LINES_AT_ONCE = 10
_LINES_PER_SECOND = 1.0
_FIELD_CHARACTERS_MAX = 1_000
_TRACE_CHARACTERS_MAX = 8_000


def logger(level: str = "info", form: str = "auto") -> Logger:
    """A logger of its own, on standard error; nothing process-wide is configured."""
    colours = for_people(form)
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if colours
        else structlog.processors.JSONRenderer()
    )
    wrapped: Logger = structlog.wrap_logger(
        _Out(sys.stderr),
        processors=[
            Bounded(SystemClock()),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _shorten,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
    )
    return wrapped


def for_people(form: str) -> bool:
    """Whether somebody reads along, and no machine does."""
    return form == "console" or (form == "auto" and sys.stderr.isatty())


class Bounded:
    """Lets ten lines of each name through at once, and one a second in the long run; the next one
    says how many it kept back. A line that comes with that number was bounded where it was written.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()  # a finalizer may log in the midst of this very code
        self._throttles: dict[str, Throttle] = {}

    def __call__(
        self, _: object, level: str, line: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        del level
        if "suppressed" in line:
            return line
        with self._lock:
            throttle = self._throttles.get(line["event"])
            if throttle is None:
                throttle = Throttle(
                    self._clock, lines_per_second=_LINES_PER_SECOND, at_once=_LINES_AT_ONCE
                )
                self._throttles[line["event"]] = throttle
            if not throttle.admits():
                raise structlog.DropEvent
            if suppressed := throttle.take_suppressed():
                line["suppressed"] = suppressed
        return line


def _shorten(_: object, level: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A path may be as long as a head, a traceback much longer; both ends of it say the most."""
    del level
    for name, value in line.items():
        most = _TRACE_CHARACTERS_MAX if name == "exception" else _FIELD_CHARACTERS_MAX
        if isinstance(value, str) and len(value) > most:
            half = most // 2
            line[name] = f"{value[:half]} ... {len(value) - most} more ... {value[-half:]}"
    return line


class _Out:
    """Where lines go. One that cannot be written, since the disk is full or nobody reads, is lost:
    it must not take with it who wrote it.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lock = threading.RLock()

    def msg(self, line: str) -> None:
        # RuntimeError: a finalizer logs in the midst of a write.
        with self._lock, suppress(OSError, ValueError, RuntimeError):
            self._file.write(line + "\n")
            self._file.flush()

    debug = info = warning = error = critical = msg


class Timings:
    """Requests of one operation: how many by status class, how long they took."""

    __slots__ = ("buckets", "operation", "seconds", "statuses")

    def __init__(self, operation: str) -> None:
        self.operation = operation
        self.statuses = [0] * 6
        self.buckets = [0] * (len(LATENCY_BOUNDS) + 1)
        self.seconds = 0.0

    def observe(self, status: int, seconds: float) -> None:
        self.statuses[status // 100] += 1
        self.buckets[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self.seconds += seconds


class Samples:
    """What one source reports at one moment: (name, labels) → value, with its kind and help."""

    def __init__(self) -> None:
        self.families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        self.failures: list[tuple[str, Exception]] = []
        """What could not be sampled, and why."""

    @contextmanager
    def apart(self, what: str) -> Iterator[None]:
        """What is raised in here costs what was to be reported in here, and nothing else."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is; who collects tells it
            self.failures.append((what, error))

    def counter(self, name: str, value: float, **labels: str) -> None:
        self._add(CounterMetricFamily, name, value, labels)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        self._add(GaugeMetricFamily, name, value, labels)

    def _add(
        self,
        kind: type[CounterMetricFamily] | type[GaugeMetricFamily],
        name: str,
        value: float,
        labels: dict[str, str],
    ) -> None:
        family = self.families.get(name)
        if family is None:
            family = kind(name, METRICS[name], labels=list(labels))
            self.families[name] = family
        family.add_metric(list(labels.values()), value)


METRICS = {
    "penstock_requests": "Requests answered, by operation and status class.",
    "penstock_request_seconds": "Time from the first byte of a request to its answer.",
    "penstock_requests_in_flight": "Requests under way. At the limit further ones get 503.",
    "penstock_connections": "Connections. At the limit the idlest are closed.",
    "penstock_arriving_bytes": "Bytes of requests in part. At the limit the oldest get 503.",
    "penstock_loop_held_seconds": "Longest that the loop was held since this was last asked for.",
    "penstock_loop_waited_seconds": "Longest that it waited for another thread, or a disk.",
    "penstock_events_received": "Events that reached ingest, by topic.",
    "penstock_events_stored": "Events made durable and acknowledged, by topic.",
    "penstock_events_duplicate": "Events not stored again because of their Idempotency-Key.",
    "penstock_events_rejected": "Events refused with a reason; the answer said which.",
    "penstock_events_lost": "Events answered first and then refused by the log (`fail_open`).",
    "penstock_log_end_offset": "Offset that the next event of a topic will get.",
    "penstock_log_start_offset": "Offset of the oldest event that a topic keeps.",
    "penstock_log_topic_bytes": "What a topic of the embedded log takes, as far as it is counted.",
    "penstock_log_trimmed_records": "Events that a topic of the embedded log keeps no longer.",
    "penstock_log_trimmed_bytes": "What those had taken; it is used again, or given back.",
    "penstock_log_commits": "Group commits; events stored per commit show how well they group.",
    "penstock_log_spooled": "Events on this edge's disk only, for the brokers are away.",
    "penstock_changes_waiting": "Changes of entities that may not be in the log yet.",
    "penstock_idempotency_keys": "Idempotency keys that the log remembers; each takes disk.",
    "penstock_projection_lag_records": "Events stored and not yet projected. Grows: see its error.",
    "penstock_projection_lag_seconds": "Age of the oldest event not yet projected.",
    "penstock_projection_ahead_seconds": "From the clock to the newest event; negative: it is old.",
    "penstock_clock_step_seconds": "How far the clock is ahead of what passed since it stepped.",
    "penstock_view_answers": "1 while a view answers and is carried on; 0: see `/readyz`.",
    "penstock_projection_records": "Events projected since the start.",
    "penstock_projection_skipped": "Events a projection left out: late by its rule, or repeats.",
    "penstock_projection_dead_lettered": "Events put aside; see `dead-letters list`.",
    "penstock_projection_retries": "Attempts that failed and were tried again.",
    "penstock_near_lag_seconds": "Age of the oldest event that an edge does not know of.",
    "penstock_near_waiting_events": "Said here and known at once, and not yet heard by the fold.",
    "penstock_due_late_seconds": "How long the next timer or job of a fold has been due.",
    "penstock_mirror_lag_seconds": "Age of the oldest change of a fold that its mirror has not.",
    "penstock_mirror_rows": "Rows that went into the mirrors of folds.",
    "penstock_mirror_retries": "Turns of a mirror that failed and were tried again.",
    "penstock_jobs_running": "Attempts of jobs that are under way.",
    "penstock_jobs_ended": "Attempts that ended, by how; what was given up: `jobs list`.",
    "penstock_disk_bytes": "Bytes on disk, by store.",
    "penstock_disk_free_bytes": "Free space of the data folder's disk. Below the minimum: 503.",
    "penstock_schedule_runs": "Runs of schedules that are over, by result; `missed`: passed over.",
    "penstock_schedule_late_seconds": "How long the oldest interval that is due has been so.",
    "penstock_reach_requests": "Requests to others by outcome; `out_of_bounds`: not let out.",
    "penstock_samples_failed": "Samples that could not be had; a line `metrics.failed` says why.",
    "penstock_application": "Numbers an application reports of itself, by name.",
}
"""Every metric there is: its name without `_total`, what it means and what to do about it."""


class Source(Protocol):
    """Anything that reports of itself when it is asked."""

    def sample(self, samples: Samples) -> None: ...


class Registry(Collector):
    """All metrics of one platform, rendered on demand, by one thread at a time."""

    def __init__(self, logger: Logger | None = None) -> None:
        self.timings: dict[str, Timings] = {}
        self.sources: list[Source] = []
        self.prometheus = CollectorRegistry()
        self.prometheus.register(self)
        self._logger = logger
        self._failing: set[str] = set()
        """What could not be sampled the last time."""
        self._failed = 0

    def operation(self, name: str) -> Timings:
        return self.timings.setdefault(name, Timings(name))

    @property
    def answered(self) -> int:
        """Requests since the start, whatever they were answered."""
        return sum(sum(timings.statuses) for timings in self.timings.values())

    def describe(self) -> Iterable["Metric"]:
        return ()

    def collect(self) -> Iterator["Metric"]:
        samples = Samples()
        for source in self.sources:
            with samples.apart(type(source).__name__):
                source.sample(samples)
        self._tell(samples.failures)
        samples.counter("penstock_samples_failed", self._failed)
        yield from samples.families.values()
        yield from self._requests()

    def _tell(self, failures: Sequence[tuple[str, Exception]]) -> None:
        """Each once, as long as it lasts."""
        self._failed += len(failures)
        for what, error in failures:
            if what not in self._failing and self._logger is not None:
                self._logger.warning("metrics.failed", what=what, error=told_of(error))
        self._failing = {what for what, _ in failures}

    def _requests(self) -> Iterator["Metric"]:
        name = "penstock_requests"
        requests = CounterMetricFamily(name, METRICS[name], labels=["operation", "status"])
        name = "penstock_request_seconds"
        seconds = HistogramMetricFamily(name, METRICS[name], labels=["operation"])
        for timings in self.timings.values():
            for status in range(1, _FIRST_SERVER_ERROR + 1):
                if timings.statuses[status]:
                    labels = [timings.operation, f"{status}xx"]
                    requests.add_metric(labels, timings.statuses[status])
            seconds.add_metric([timings.operation], _cumulative(timings), timings.seconds)
        yield requests
        yield seconds


def _cumulative(timings: Timings) -> list[tuple[str, float]]:
    total = 0
    buckets = []
    for bound, count in zip((*LATENCY_BOUNDS, "+Inf"), timings.buckets, strict=True):
        total += count
        buckets.append((str(bound), float(total)))
    return buckets


class Throttle:
    """Keeps a flood of failures from becoming a flood of lines. For one thread at a time."""

    def __init__(
        self, clock: Clock, *, lines_per_second: float, at_once: int | None = None
    ) -> None:
        """So many lines in the long run, and `at_once` after a rest: as many unless said."""
        self._clock = clock
        self._per_second = lines_per_second
        self._most = lines_per_second if at_once is None else at_once
        self._left = float(self._most)
        self._at = clock.monotonic()
        self._suppressed = 0

    def admits(self) -> bool:
        now = self._clock.monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            self._suppressed += 1
            return False
        self._left -= 1
        return True

    def take_suppressed(self) -> int:
        """How many were kept back since the last line."""
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed
