"""The composition root: which applications there are, and settings into a platform."""

from collections.abc import Mapping, Sequence

from penstock.apps.audiences.manifest import manifest as audiences
from penstock.core import engines
from penstock.core import settings as configuration
from penstock.core.clock import Clock, SystemClock
from penstock.core.platform import ROLES, Platform
from penstock.core.telemetry import logger

APPLICATIONS = (audiences,)


_STRUCTS = {application.name: application.settings for application in APPLICATIONS}


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
) -> Platform:
    """Everything that the processes share, opened but not started. Raise `Misconfigured`."""
    settings, applications = configuration.load(environment, _STRUCTS, overrides)
    return Platform(
        settings,
        applications,
        APPLICATIONS,
        clock=clock or SystemClock(),
        logger=logger(settings.log_level, settings.log_format),
        roles=roles,
    )
