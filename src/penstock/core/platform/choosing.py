"""Which projections a process carries, of all that its applications offer."""

from collections.abc import Sequence

from penstock.core.errors import Misconfigured
from penstock.core.manifest import Manifest
from penstock.core.projection import Projection
from penstock.core.settings import PREFIX, Settings, listed


def chosen(settings: Settings, manifests: Sequence[Manifest]) -> list[Projection]:
    """What the role work carries. Raise `Misconfigured` for a projection that nobody offers."""
    known = {p.name: p for manifest in manifests for p in manifest.projections}
    names = listed(settings.projections) or list(known)
    if unknown := [name for name in names if name not in known]:
        raise Misconfigured(
            f"{PREFIX}PROJECTIONS: there is no projection {', '.join(unknown)}; there are "
            f"{', '.join(sorted(known))}"
        )
    return [known[name] for name in names]
