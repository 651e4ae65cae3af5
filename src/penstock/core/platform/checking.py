"""What settings alone can get wrong, found before anything is made."""

from collections.abc import Collection, Sequence

from penstock.core import engines
from penstock.core.edge.origins import Origins
from penstock.core.edge.proxies import Proxies
from penstock.core.manifest import Manifest
from penstock.core.platform.choosing import chosen
from penstock.core.projection import Fold
from penstock.core.reach.places import Bounds
from penstock.core.settings import Settings


def check(settings: Settings, manifests: Sequence[Manifest], roles: Collection[str]) -> None:
    """Raise `Misconfigured`."""
    Proxies(settings.trusted_proxies)
    Origins(settings.origins)
    engines.check_known(settings)
    if "api" in roles:
        edited = [manifest.name for manifest in manifests if manifest.entities]
        engines.check_editing(edited, appends="edge" in roles)
    carried = chosen(settings, manifests)
    if "work" in roles:
        appending = [p.name for p in carried if isinstance(p, Fold) and p.speaks]
        appending += [of.name for manifest in manifests for of in manifest.schedules if of.emits]
        engines.check_appends(settings, appending, writes="edge" in roles)
        Bounds(settings.reach_networks, settings.reach_ports)
