"""The composition root: which applications there are, and settings into a platform."""

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module

import msgspec

from penstock.core import engines
from penstock.core import settings as configuration
from penstock.core.clock import Clock, SystemClock
from penstock.core.edge import judging
from penstock.core.ingesting import ingest_endpoints
from penstock.core.log.backup import Bars
from penstock.core.log.kept import overruled
from penstock.core.manifest import Manifest
from penstock.core.platform import ROLES, Platform
from penstock.core.telemetry import logger
from penstock.core.worker import Handle, Worker, work

APPLICATIONS = {
    "audiences": "penstock.apps.audiences",
}
"""By name, where the module `manifest` of each lies. One that is not chosen is never imported."""

_Given = tuple[configuration.Settings, dict[str, msgspec.Raw]]


def manifests(chosen: str = "") -> tuple[Manifest, ...]:
    """What `PENSTOCK_APPLICATIONS` names, or all. Raise `Misconfigured` for one there is not."""
    return tuple(map(_manifest, configuration.named("application", chosen, APPLICATIONS)))


def _manifest(name: str) -> Manifest:
    found: Manifest = import_module(f"{APPLICATIONS[name]}.manifest").manifest
    return found


class _Structs(Mapping[str, type[msgspec.Struct]]):
    """The settings of each application, which is imported when it is asked for them."""

    def __getitem__(self, name: str) -> type[msgspec.Struct]:
        return _manifest(name).settings

    def __iter__(self) -> Iterator[str]:
        return iter(APPLICATIONS)

    def __len__(self) -> int:
        return len(APPLICATIONS)


def read_settings(
    environment: Mapping[str, str], overrides: Mapping[str, object] | None = None
) -> configuration.Settings:
    """The core's settings. Raise `Misconfigured`."""
    return configuration.load(environment, _Structs(), overrides)[0]


def prepare(
    environment: Mapping[str, str], overrides: Mapping[str, object], bars: Bars
) -> list[str]:
    """Create what the engines lack of topics and tables; what was found and done, in words.

    Raise `Misconfigured` for what cannot be reached, or is there and differs.
    """
    settings = read_settings(environment, overrides)
    offered = manifests(settings.applications)
    said = {topic.name: topic.kept for application in offered for topic in application.topics}
    return [
        *engines.prepare_log(settings, overruled(said, settings), bars),
        *engines.prepare_warehouse(settings, [a.package for a in offered]),
        *engines.prepare_state(settings),
        *(engines.prepare_database(settings) if any(a.entities for a in offered) else ()),
    ]


def build(
    environment: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
    *,
    roles: Sequence[str] = ROLES,
    clock: Clock | None = None,
    others: Sequence[Manifest] = (),
) -> Platform:
    """Everything that the processes share, opened but not started. Raise `Misconfigured`.

    With `others` they are served instead of ours, and their bodies are judged in this process: no
    other one knows them.
    """
    structs = {manifest.name: manifest.settings for manifest in others} or _Structs()
    settings, applications = configuration.load(environment, structs, overrides)
    lines = logger(settings.log_level, settings.log_format)
    judging_apart = Worker(
        "from penstock.main import judge; judge()", (settings, applications), lines
    )
    return Platform(
        settings,
        applications,
        others or manifests(settings.applications),
        clock=clock or SystemClock(),
        logger=lines,
        roles=roles,
        judge=None if others else judging_apart,
    )


def judge() -> None:
    """A process that judges bodies for the one that started it, by the same settings."""

    def make(given: bytes) -> Handle:
        settings, structs = msgspec.msgpack.decode(given, type=_Given)
        offered = manifests(settings.applications)
        applications = {
            application.name: msgspec.msgpack.decode(
                structs[application.name], type=application.settings
            )
            for application in offered
        }
        endpoints = ingest_endpoints(settings, applications, offered)
        return judging.answer({endpoint.operation: endpoint for endpoint in endpoints})

    work(make)
