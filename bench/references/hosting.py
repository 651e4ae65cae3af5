"""An application of the benchmark on a platform of its own, as `python -m … PORT FOLDER`."""

import sys
from collections.abc import Sequence

from penstock.core.clock import SystemClock
from penstock.core.doors import doors
from penstock.core.manifest import Manifest
from penstock.core.platform import Platform
from penstock.core.server import serve
from penstock.core.settings import load
from penstock.core.telemetry import logger


def host(manifest: Manifest, roles: Sequence[str]) -> None:
    """Blocks until it is told to stop."""
    given = {"port": int(sys.argv[1]), "data": sys.argv[2]}
    settings, applications = load({}, {manifest.name: manifest.settings}, given)
    with doors(settings) as found:
        platform = Platform(
            settings,
            applications,
            [manifest],
            clock=SystemClock(),
            logger=logger("warning"),
            roles=roles,
        )
        serve(platform, found, lambda _: None)
