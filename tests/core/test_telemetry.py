"""Metrics that can be read and are explained; lines that do not become a flood."""

import gc
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from penstock.core.telemetry import (
    LATENCY_BOUNDS,
    METRICS,
    Bounded,
    Registry,
    Samples,
    Throttle,
    logger,
)
from support.clock import MovedClock
from support.lines import Lines

OF_THE_REGISTRY = ("penstock_requests", "penstock_request_seconds", "penstock_samples_failed")


class Reporting:
    """A source that reports everything there is."""

    def sample(self, samples: Samples) -> None:
        for name in METRICS:
            if name not in OF_THE_REGISTRY:
                samples.gauge(name, 1.5, kind='a "label" \\ of\nany sort')


@pytest.fixture
def registry() -> Registry:
    return Registry()


def values(registry: Registry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = generate_latest(registry.prometheus).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_all_that_is_reported_can_be_read_and_is_explained(registry: Registry) -> None:
    registry.sources.append(Reporting())
    registry.operation("tests.ask").observe(200, 0.1)
    text = generate_latest(registry.prometheus).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert set(families) == set(METRICS)
    for name, family in families.items():
        assert family.documentation == METRICS[name]
    labels = families["penstock_application"].samples[0].labels
    assert labels == {"kind": 'a "label" \\ of\nany sort'}


def test_a_name_that_nobody_explained_cannot_be_reported() -> None:
    with pytest.raises(KeyError):
        Samples().counter("penstock_surprise", 1)


class Sampling:
    """A source that does one thing."""

    def __init__(self, sample: Callable[[Samples], None]) -> None:
        self.sample = sample


def test_what_a_source_raises_costs_what_it_had_not_reported_yet_and_no_more() -> None:
    lines = Lines()
    registry = Registry(lines.logger)

    def halfway(samples: Samples) -> None:
        samples.gauge("penstock_disk_free_bytes", 1)
        with samples.apart("one store"):
            Path("/nowhere/at/all").stat()
        samples.gauge("penstock_disk_bytes", 2, store="another")
        raise ZeroDivisionError

    registry.sources += [
        Sampling(halfway),
        Sampling(lambda samples: samples.counter("penstock_surprise", 1)),
        Sampling(lambda samples: samples.counter("penstock_log_commits", 3)),
    ]
    found = values(registry)
    assert found["penstock_disk_free_bytes", ()] == 1
    assert found["penstock_disk_bytes", (("store", "another"),)] == 2
    assert found["penstock_log_commits_total", ()] == 3
    assert {(line["what"], line["error"].partition(":")[0]) for line in lines.lines} == {
        ("one store", "FileNotFoundError"),
        ("Sampling", "ZeroDivisionError"),
        ("Sampling", "KeyError"),
    }
    assert found["penstock_samples_failed_total", ()] == 3


def test_what_cannot_be_sampled_is_counted_each_time_and_said_once_as_long_as_it_lasts() -> None:
    lines, failing = Lines(), [True]
    registry = Registry(lines.logger)

    def sample(samples: Samples) -> None:
        with samples.apart("a store"):
            if failing[0]:
                raise OSError("away")

    registry.sources.append(Sampling(sample))
    for times, fails, said in ((1, True, 1), (2, True, 1), (2, False, 1), (3, True, 2)):
        failing[0] = fails
        assert values(registry)["penstock_samples_failed_total", ()] == times
        assert len(lines.named("metrics.failed")) == said


def test_requests_are_counted_by_operation_and_status(registry: Registry) -> None:
    timings = registry.operation("tests.ask")
    assert registry.operation("tests.ask") is timings
    for status in (200, 204, 404, 499, 500):
        timings.observe(status, 0.001)
    found = values(registry)

    def count(status: str) -> float:
        return found["penstock_requests_total", (("operation", "tests.ask"), ("status", status))]

    assert (count("2xx"), count("4xx"), count("5xx")) == (2, 2, 1)


def test_latencies_add_up_from_bucket_to_bucket(registry: Registry) -> None:
    timings = registry.operation("tests.ask")
    took = [0.0001, *LATENCY_BOUNDS, 1_000.0]
    for seconds in took:
        timings.observe(200, seconds)
    found = values(registry)
    for number, bound in enumerate([*LATENCY_BOUNDS, float("inf")]):
        text = "+Inf" if bound == float("inf") else str(bound)
        labels = (("le", text), ("operation", "tests.ask"))
        at_most = sum(seconds <= bound for seconds in took)
        assert found["penstock_request_seconds_bucket", labels] == at_most, number
    operation = (("operation", "tests.ask"),)
    assert found["penstock_request_seconds_sum", operation] == pytest.approx(sum(took))
    assert found["penstock_request_seconds_count", operation] == len(took)


def test_a_flood_of_lines_is_cut_off_and_counted() -> None:
    clock = MovedClock()
    throttle = Throttle(clock, lines_per_second=3)
    assert [throttle.admits() for _ in range(5)] == [True, True, True, False, False]
    clock.seconds += 1
    assert throttle.admits()
    assert throttle.take_suppressed() == 2
    assert throttle.take_suppressed() == 0


def test_a_wall_clock_that_steps_back_lets_no_flood_through() -> None:
    clock = MovedClock()
    throttle = Throttle(clock, lines_per_second=1)
    assert throttle.admits()
    clock.step_hours(-1)
    assert not throttle.admits()


def test_a_line_is_one_json_object_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    log = logger("info", "json")
    log.info("something.happened", count=3, word='"\n')
    log.debug("not.worth.saying")
    try:
        raise ValueError("a defect")
    except ValueError:
        log.exception("something.failed")
    captured = capsys.readouterr()
    first, second = map(json.loads, captured.err.splitlines())
    assert (first["event"], first["count"], first["word"]) == ("something.happened", 3, '"\n')
    assert first["level"] == "info"
    assert "ValueError: a defect" in second["exception"]
    assert captured.out == ""


# -- bounded --------------------------------------------------------------------------------------


def test_of_each_kind_of_line_a_few_are_written_at_once_and_one_a_second_in_the_long_run() -> None:
    clock = MovedClock()
    lines = Lines(Bounded(clock))
    for _ in range(100):
        lines.logger.info("a.flood")
    lines.logger.info("another.kind")
    assert (len(lines.named("a.flood")), len(lines.named("another.kind"))) == (10, 1)
    for _ in range(60):
        clock.seconds += 0.5
        lines.logger.bind(of="a child").info("a.flood")
    flood = lines.named("a.flood")
    assert len(flood) == 10 + 30
    assert sum(line.get("suppressed", 0) for line in flood) == 100 - 10 + 60 - 30
    clock.seconds += 3_600
    for _ in range(100):
        lines.logger.info("a.flood")
    assert len(lines.named("a.flood")) == len(flood) + 10, "a long rest is no licence"


def test_a_line_that_says_itself_what_was_kept_back_passes() -> None:
    lines = Lines(Bounded(MovedClock()))
    for number in range(50):
        lines.logger.info("bounded.elsewhere", suppressed=number)
    assert [line["suppressed"] for line in lines.lines] == list(range(50))


def test_lines_of_many_threads_are_all_written_or_counted() -> None:
    lines = Lines(Bounded(MovedClock()))
    threads = [
        threading.Thread(target=lambda: [lines.logger.info("a.flood") for _ in range(500)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines.lines) == 10
    bounded = lines.logger._processors[0]  # type: ignore[attr-defined] # structlog's
    assert bounded._throttles["a.flood"].take_suppressed() == 8 * 500 - 10


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_no_line_is_long_and_both_ends_of_what_was_are_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def deep(n: int) -> None:
        if n == 0:
            raise ValueError("wrong" * 5_000 + "the very end")
        deep(n - 1)

    log = logger("info", "json")
    try:
        deep(9)
    except ValueError:
        log.exception("something.failed", path="/begin" + "x" * 100_000 + "end")
    (line,) = written(capsys)
    assert len(json.dumps(line)) < 12_000
    path, trace = str(line["path"]), str(line["exception"])
    assert (path[:6], path[-3:]) == ("/begin", "end")
    assert trace.startswith("Traceback")
    assert trace.endswith("the very end")


@pytest.mark.parametrize("form", ["console", "json"])
def test_an_exception_is_shown_in_either_form(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    try:
        raise ValueError("a defect")
    except ValueError:
        logger("info", form).exception("something.failed")
    assert "ValueError: a defect" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_a_line_that_cannot_be_written_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full").open("w")  # noqa: SIM115 - closing it fails, and is to
    monkeypatch.setattr(sys, "stderr", full)
    log = logger("info", "json")
    for _ in range(3):
        log.info("something.happened")
    with pytest.raises(OSError, match="No space"):
        full.close()
    log.info("something.happened")


def test_who_logs_in_a_finalizer_in_the_midst_of_a_line_waits_for_nobody(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = logger("info", "json")

    class Finalized:
        def __init__(self) -> None:
            self.itself = self  # for the collector to find

        def __del__(self) -> None:
            log.info("object.gone")

    was = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(50):
            Finalized()
            log.info("something.happened")
    finally:
        gc.set_threshold(*was)
    assert {line["event"] for line in written(capsys)} == {"object.gone", "something.happened"}
