"""Which projections a process carries, of all that its applications offer."""

from collections.abc import Sequence

from penstock.core.manifest import Manifest
from penstock.core.projection import Projection
from penstock.core.settings import Settings, named


def chosen(settings: Settings, manifests: Sequence[Manifest]) -> list[Projection]:
    """What the role work carries. Raise `Misconfigured` for a projection that nobody offers."""
    known = {p.name: p for manifest in manifests for p in manifest.projections}
    return [known[name] for name in named("projection", settings.projections, known)]
