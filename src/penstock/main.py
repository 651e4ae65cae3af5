"""The composition root: which applications there are, and settings into a platform."""

from collections.abc import Mapping, Sequence

from penstock.apps.audiences.manifest import manifest as audiences
from penstock.core import settings as configuration
from penstock.core.clock import Clock, SystemClock
from penstock.core.platform import ROLES, Platform
from penstock.core.telemetry import logger

APPLICATIONS = (audiences,)


def build(
    environment: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
    *,
    roles: Sequence[str] = ROLES,
    clock: Clock | None = None,
) -> Platform:
    """Everything that the processes share, opened but not started. Raise `Misconfigured`."""
    structs = {application.name: application.settings for application in APPLICATIONS}
    settings, applications = configuration.load(environment, structs, overrides)
    return Platform(
        settings,
        applications,
        APPLICATIONS,
        clock=clock or SystemClock(),
        logger=logger(settings.log_level, settings.log_format),
        roles=roles,
    )
