"""The composition root: which applications there are, and settings into a platform."""

from collections.abc import Mapping, Sequence

import msgspec

from penstock.apps.audiences.manifest import manifest as audiences
from penstock.core import engines
from penstock.core import settings as configuration
from penstock.core.clock import Clock, SystemClock
from penstock.core.edge import judging
from penstock.core.ingesting import ingest_endpoints
from penstock.core.manifest import Manifest
from penstock.core.platform import ROLES, Platform
from penstock.core.telemetry import logger
from penstock.core.worker import Handle, Worker, work

APPLICATIONS = (audiences,)


_STRUCTS = {application.name: application.settings for application in APPLICATIONS}
_Given = tuple[configuration.Settings, dict[str, msgspec.Raw]]


def read_settings(
    environment: Mapping[str, str], overrides: Mapping[str, object] | None = None
) -> configuration.Settings:
    """The core's settings. Raise `Misconfigured`."""
    return configuration.load(environment, _STRUCTS, overrides)[0]


def prepare(environment: Mapping[str, str], overrides: Mapping[str, object]) -> list[str]:
    """Create what the engines lack of topics and tables; what was found and done, in words.

    Raise `Misconfigured` for what cannot be reached, or is there and differs.
    """
    settings = read_settings(environment, overrides)
    topics = [topic.name for application in APPLICATIONS for topic in application.topics]
    return [
        *engines.prepare_log(settings, topics),
        *engines.prepare_warehouse(settings, [a.package for a in APPLICATIONS]),
        *engines.prepare_state(settings),
    ]


def build(
    environment: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
    *,
    roles: Sequence[str] = ROLES,
    clock: Clock | None = None,
    manifests: Sequence[Manifest] = APPLICATIONS,
) -> Platform:
    """Everything that the processes share, opened but not started. Raise `Misconfigured`.

    Bodies of other manifests than ours are judged in this process: no other one knows them.
    """
    structs = {manifest.name: manifest.settings for manifest in manifests}
    settings, given = configuration.load(environment, structs, overrides)
    lines = logger(settings.log_level, settings.log_format)
    ours = manifests is APPLICATIONS
    return Platform(
        settings,
        given,
        manifests,
        clock=clock or SystemClock(),
        logger=lines,
        roles=roles,
        judge=Worker("from penstock.main import judge; judge()", (settings, given), lines)
        if ours
        else None,
    )


def judge() -> None:
    """A process that judges bodies for the one that started it, by the same settings."""

    def make(given: bytes) -> Handle:
        settings, structs = msgspec.msgpack.decode(given, type=_Given)
        applications = {
            name: msgspec.msgpack.decode(struct, type=_STRUCTS[name])
            for name, struct in structs.items()
        }
        endpoints = ingest_endpoints(settings, applications, APPLICATIONS)
        return judging.answer({endpoint.operation: endpoint for endpoint in endpoints})

    work(make)
