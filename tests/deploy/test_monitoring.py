"""Prometheus and Grafana ask for what there is."""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from deploy.stack import DEPLOY, ROOT, operator_paths, read, read_yaml, services
from penstock.core.telemetry import METRICS

METRIC = re.compile(r"\bpenstock_\w+")
REPORTED = re.compile(r"\.(counter|gauge)\(\s*f?\"(penstock_[a-z_{}]+)\"")
HISTOGRAM = "penstock_request_seconds"

DASHBOARD = json.loads(read("grafana/dashboards/penstock.json"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES = [rule for group in read_yaml("prometheus/alerts.yml")["groups"] for rule in group["rules"]]
SCRAPE = read_yaml("prometheus/prometheus.yml")


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in RULES)
    for panel in PANELS:
        yield from (target["expr"] for target in panel["targets"])


def exposed() -> set[str]:
    """Names as they stand in /metrics, by how the code reports each."""
    kinds = {"penstock_requests": "counter"}
    for path in sorted((ROOT / "src").rglob("*.py")):
        for kind, pattern in REPORTED.findall(path.read_text()):
            spelled = re.sub(r"\{\w+\}", r"\\w+", pattern)
            kinds |= {name: kind for name in METRICS if re.fullmatch(spelled, name)}
    assert set(kinds) | {HISTOGRAM} == set(METRICS)
    plain = {f"{name}_total" if kind == "counter" else name for name, kind in kinds.items()}
    return plain | {f"{HISTOGRAM}_{part}" for part in ("bucket", "sum", "count")}


# -- what is asked for ----------------------------------------------------------------------------


def test_every_metric_that_is_asked_for_exists() -> None:
    asked = {name for expression in expressions() for name in METRIC.findall(expression)}

    assert asked <= exposed()


def test_the_metrics_are_those_of_the_reference() -> None:
    page = (ROOT / "docs/reference/metrics.md").read_text()

    assert set(METRICS) == set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))


def test_what_an_operator_is_to_watch_is_shown() -> None:
    shown = {
        name for panel in PANELS for t in panel["targets"] for name in METRIC.findall(t["expr"])
    }

    assert exposed() - shown <= {
        "penstock_application",  # each application's own
        "penstock_log_end_offset",
        f"{HISTOGRAM}_sum",
        f"{HISTOGRAM}_count",
    }


# -- Prometheus -----------------------------------------------------------------------------------


def test_every_process_is_scraped_under_its_role() -> None:
    job = next(job for job in SCRAPE["scrape_configs"] if job["job_name"] == "penstock")
    [discovery] = job["dns_sd_configs"]
    [relabelling] = job["relabel_configs"]
    serving = {
        name: service
        for name, service in services().items()
        if service["image"].startswith("penstock:") and "serve" in service["command"]
    }

    assert set(discovery["names"]) == set(serving)
    for name, service in serving.items():
        found = re.fullmatch(relabelling["regex"], name)
        assert found is not None
        assert ["serve", "--role", found[1]] == service["command"]
        assert str(discovery["port"]) == service["environment"]["PENSTOCK_PORT"]
    assert "/metrics" in operator_paths(), "what Prometheus asks for where nothing else is said"


def test_the_files_of_rules_are_there() -> None:
    assert all((DEPLOY / "prometheus" / name).exists() for name in SCRAPE["rule_files"])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_how_urgent(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    grouped = re.search(r"by \(([\w, ]+)\)", rule["expr"])
    kept = set(grouped[1].split(", ")) if grouped else {"role", "instance"}
    assert named <= kept, "a label that the expression drops is empty in the summary"


def test_every_alert_has_a_name_of_its_own_and_is_explained() -> None:
    page = (ROOT / "docs/deployment.md").read_text()

    assert [rule["alert"] for rule in RULES] == re.findall(
        r"^\| `(Penstock\w+)` \|", page, re.MULTILINE
    )
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


# -- Grafana --------------------------------------------------------------------------------------


def test_grafana_is_led_to_prometheus_and_to_the_dashboard() -> None:
    [source] = read_yaml("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    [provider] = read_yaml("grafana/provisioning/dashboards/penstock.yaml")["providers"]
    stack = services()
    mounts = dict(mount.split(":")[:2] for mount in stack["grafana"]["volumes"])

    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == SCRAPE["global"]["scrape_interval"]
    assert provider["options"]["path"] == mounts["./grafana/dashboards"]
    for kind in ("datasources", "dashboards"):
        assert mounts[f"./grafana/provisioning/{kind}"] == f"/etc/grafana/provisioning/{kind}"
    home = stack["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{mounts['./grafana/dashboards']}/penstock.json"


def test_the_dashboard_is_of_a_version_that_grafana_reads() -> None:
    assert DASHBOARD["schemaVersion"] == 41
    assert DASHBOARD["uid"] == "penstock"
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_has_a_unit_an_explanation_and_queries(panel: dict[str, Any]) -> None:
    source = {"type": "prometheus", "uid": "${datasource}"}

    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["description"].endswith(".")
    assert panel["datasource"] == source
    assert panel["targets"]
    assert all(target["datasource"] == source for target in panel["targets"])
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_panels_stand_side_by_side() -> None:
    everything = DASHBOARD["panels"]
    squares = [
        {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        for place in (panel["gridPos"] for panel in everything)
    ]

    assert len({panel["id"] for panel in everything}) == len(everything)
    assert all(x < 24 for square in squares for x, _ in square)
    assert not any(one & other for one, other in combinations(squares, 2))
