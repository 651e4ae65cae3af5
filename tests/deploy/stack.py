"""The deployment's files, and what the code says they may speak of."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import yaml

from penstock.core.pages import OFFERS
from penstock.core.settings import PREFIX, Settings, load
from penstock.main import manifests

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

APPLICATION_SETTINGS = {manifest.name: manifest.settings for manifest in manifests()}


def _variables(struct: type[msgspec.Struct], prefix: str) -> set[str]:
    return {f"{prefix}{field.name.upper()}" for field in msgspec.structs.fields(struct)}


VARIABLES = _variables(Settings, PREFIX).union(
    *(
        _variables(struct, f"{PREFIX}{name.upper()}_")
        for name, struct in APPLICATION_SETTINGS.items()
    )
)
"""Every setting there is; read off the structs, so that the generator is checked as well."""

PINNED = re.compile(r"^[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*$")
_INTERPOLATED = re.compile(r"\$\{(\w+)(?:(:?[-?])((?:[^{}]|\$\{\w+\})*))?\}")


def read(name: str) -> str:
    return (DEPLOY / name).read_text()


def read_yaml(name: str) -> Any:
    return yaml.safe_load(read(name))


def compose() -> dict[str, Any]:
    """As Compose reads it, where the variables that have to be set are a word."""
    return cast("dict[str, Any]", _interpolate(read_yaml("compose.yaml")))


def services() -> dict[str, Any]:
    return cast("dict[str, Any]", compose()["services"])


def interpolated(text: str) -> Iterator[str]:
    """The variables that a file of Compose asks for."""
    for name, _, otherwise in _INTERPOLATED.findall(text):
        yield name
        yield from interpolated(otherwise)


def _interpolate(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _interpolate(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_interpolate(inner) for inner in value]
    if not isinstance(value, str):
        return value
    return _INTERPOLATED.sub(_fill, value).replace("$$", "$")


def _fill(found: re.Match[str]) -> str:
    return str(_interpolate(found[3])) if found[2] in ("-", ":-") else "word"


def settings(environment: dict[str, str]) -> Settings:
    """As a start would read them; one that is unknown or out of range is refused."""
    assert set(environment) <= VARIABLES
    return load(environment, APPLICATION_SETTINGS)[0]


def version() -> str:
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def ingest_paths() -> set[str]:
    return {path for manifest in manifests() for offer in manifest.ingest for path in offer.paths}


def query_paths() -> set[str]:
    return {path for manifest in manifests() for route in manifest.routes for path in route.paths}


def operator_paths() -> set[str]:
    """What every process answers besides."""
    return {path for offer in OFFERS for path in offer.paths} | {"/pages/style.css"}
