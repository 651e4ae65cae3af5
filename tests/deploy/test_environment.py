"""`.env.example` holds every setting, and nothing that is none."""

import re

from deploy.stack import (
    APPLICATION_SETTINGS,
    ROOT,
    VARIABLES,
    interpolated,
    read,
)
from penstock import reference
from penstock.core.settings import Settings, load

SET = re.compile(r"^(\w+)=(.*)$", re.MULTILINE)
OFFERED = re.compile(r"^#(\w+)=(.*)$", re.MULTILINE)


def test_it_is_what_the_code_says() -> None:
    assert read(".env.example") == reference.environment(), "run `make docs`"


def test_every_setting_stands_in_it_once_and_no_other() -> None:
    offered = [name for name, _ in OFFERED.findall(read(".env.example"))]

    assert sorted(name for name in offered if name.startswith("PENSTOCK_")) == sorted(VARIABLES)


def test_it_offers_the_same_as_the_reference() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text()
    listed = set(re.findall(r"^\| `\w+` \| `(PENSTOCK_\w+)` \|", page, re.MULTILINE))

    assert listed == VARIABLES


def test_what_it_offers_is_the_default() -> None:
    offered = {
        name: value
        for name, value in OFFERED.findall(read(".env.example"))
        if name.startswith("PENSTOCK_")
    }
    core, applications = load(offered, APPLICATION_SETTINGS)

    assert core == Settings()
    assert applications == {name: struct() for name, struct in APPLICATION_SETTINGS.items()}


def test_what_is_to_be_filled_in_is_empty() -> None:
    assert dict(SET.findall(read(".env.example"))) == {
        "CLICKHOUSE_PASSWORD": "",
        "GRAFANA_PASSWORD": "",
    }


def test_what_the_stack_asks_for_stands_in_it() -> None:
    text = read(".env.example")
    held = {name for name, _ in SET.findall(text) + OFFERED.findall(text)}
    asked = set(interpolated(read("compose.yaml")))

    assert asked <= held
    assert held - VARIABLES <= asked
