"""What a process has to do with the trimming of the embedded log; brokers see to it themselves."""

from collections.abc import Callable, Mapping, Sequence

from penstock.core.clock import CarefulClock
from penstock.core.engines import own_file
from penstock.core.log.follower import SqliteFollower
from penstock.core.log.forgetting import Forgetting
from penstock.core.log.sqlite import SqliteLog
from penstock.core.manifest import Manifest
from penstock.core.platform.consumers import Consumers
from penstock.core.platform.opening import Opened
from penstock.core.projection import needs
from penstock.core.projection.runner import Consumer
from penstock.core.settings import Settings
from penstock.core.telemetry import Logger


def forgetting(
    settings: Settings,
    manifests: Sequence[Manifest],
    opened: Opened,
    consumers: Consumers,
    copies: Sequence[Consumer],
    *,
    clock: CarefulClock,
    logger: Logger,
) -> Forgetting | None:
    """For the process that writes the log: only it can trim. It asks its own projections how far
    they are, and its `copies` of near folds, or reads what the process says that carries them.
    """
    log = opened.log
    if not isinstance(log, SqliteLog):
        return None
    if any(kept.is_bounded for kept in opened.kept.values()) and not log.gives_back:
        remedy = "what is trimmed is used again; to make the file smaller run `penstock migrate`"
        logger.warning("log.gives_nothing_back", remedy=remedy)
    file = own_file(settings).with_name(needs.FILE)

    def needed(topic: str) -> Mapping[str, int]:
        others = {
            projection.name
            for manifest in manifests
            for projection in manifest.projections
            if projection.topic.name == topic and projection.name not in consumers
        }
        said = needs.told(file, topic, others, log.identity(topic)) if others else {}
        if said is None:
            said = {} if consumers else {needs.UNKNOWN: 0}
        near = needs.needed(copies, topic).items()
        own = needs.needed(consumers.values(), topic)
        return {**said, **own, **{f"near {name}": first for name, first in near}}

    return Forgetting(log, opened.kept, needed, clock=clock, logger=logger)


def telling(settings: Settings, opened: Opened, consumers: Consumers) -> Callable[[], None] | None:
    """For a process that carries projections of a log that another one writes, and trims."""
    follow = opened.follow
    if not isinstance(follow, SqliteFollower) or not consumers.carried:
        return None
    file = own_file(settings).with_name(needs.FILE)
    return lambda: needs.tell(file, consumers.carried, follow)
