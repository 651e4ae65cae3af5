"""Metrics that can be read and are explained; lines that do not become a flood."""

import json

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from penstock.core.telemetry import LATENCY_BOUNDS, METRICS, Registry, Samples, Throttle, logger
from support.clock import MovedClock


class Reporting:
    """A source that reports everything there is."""

    def sample(self, samples: Samples) -> None:
        for name in METRICS:
            if name not in ("penstock_requests", "penstock_request_seconds"):
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
