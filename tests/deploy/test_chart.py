"""The chart, as far as it can be read; `test_chart_rendered` looks at what Helm makes of it."""

import json
import re
from typing import Any

import pytest

from deploy.stack import DEPLOY, VARIABLES, ingest_paths, query_paths, read, read_yaml, version

CHART = "helm/penstock"
VALUES = read_yaml(f"{CHART}/values.yaml")
SCHEMA = json.loads(read(f"{CHART}/values.schema.json"))
TEMPLATES = sorted((DEPLOY / CHART / "templates").iterdir())

VALUE = re.compile(r"(?:\$root|\$)?\.Values\.([\w.]+)")
ROLE_VALUE = re.compile(r"\$values\.([\w.]+)")


def reach(values: Any, path: str) -> bool:
    for name in path.split("."):
        if not isinstance(values, dict) or name not in values:
            return False
        values = values[name]
    return True


def test_it_is_of_this_version() -> None:
    chart = read_yaml(f"{CHART}/Chart.yaml")

    assert chart["version"] == chart["appVersion"] == version()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_asks_for_values_that_there_are(template: Any) -> None:
    text = template.read_text()
    missing = [path for path in VALUE.findall(text) if not reach(VALUES, path)]
    of_roles = [
        path
        for path in ROLE_VALUE.findall(text)
        if not any(reach(VALUES[role], path) for role in ("edge", "api", "work"))
    ]

    assert missing + of_roles == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_names_settings_that_there_are(template: Any) -> None:
    assert set(re.findall(r"\bPENSTOCK_[A-Z][A-Z_]*[A-Z]\b", template.read_text())) <= VARIABLES


def test_the_values_set_settings_that_there_are() -> None:
    assert set(VALUES["settings"]) <= VARIABLES
    assert set(re.findall(r"\bPENSTOCK_[A-Z_]+[A-Z]\b", read(f"{CHART}/values.yaml"))) <= VARIABLES


def test_the_schema_knows_every_value_and_no_other() -> None:
    def differing(values: Any, schema: dict[str, Any], path: str) -> list[str]:
        known = schema.get("properties")
        if known is None or not isinstance(values, dict):
            return []
        assert schema["additionalProperties"] is False, path
        apart = [f"{path}.{name}" for name in set(values) ^ set(known)]
        both = set(values) & set(known)
        return apart + [d for n in both for d in differing(values[n], known[n], f"{path}.{n}")]

    assert differing(VALUES, SCHEMA, "") == [".global"], "every chart is given `global`"


def test_nothing_secret_has_a_default() -> None:
    assert set(VALUES["urls"].values()) == {""}
    assert VALUES["existingSecret"] == ""


def test_the_ingress_offers_events_and_queries_and_nothing_else() -> None:
    paths = VALUES["ingress"]["paths"]

    def beginning(path: str) -> str:
        return "/" + path.split("/")[1]

    assert set(paths["edge"]) == {beginning(path) for path in ingest_paths()}
    assert set(paths["api"]) == {beginning(path) for path in query_paths()}
    assert not set(paths["edge"]) & set(paths["api"])
