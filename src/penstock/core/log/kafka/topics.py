"""Topics as they are to be: made by `penstock migrate`, and looked at by every start."""

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from confluent_kafka.cimpl import NewTopic

from penstock.core.errors import Misconfigured, NotReady
from penstock.core.log.kafka.address import properties
from penstock.core.log.kafka.cluster import Cluster, Described
from penstock.core.log.kept import FOREVER, Kept
from penstock.core.settings import Settings, redacted

_SPREAD_SECONDS = 3.0
"""So long after a topic was made some brokers may not have heard of it."""
_LOOK_AGAIN_SECONDS = 0.1


def create_topics(
    settings: Settings, names: Sequence[str], kept: Mapping[str, Kept] = MappingProxyType({})
) -> list[str]:
    """Make those that are missing, and have all of them kept as they are to be: for ever, where
    nothing else is said. What was done, in words. Raise `Misconfigured`.

    Partitions of what exists are left as they are: they may have been added since.
    """
    cluster = Cluster(properties(settings.log_url))
    try:
        known = cluster.describe(names)
        missing = [name for name in names if name not in known]
        if missing:
            made = [_wanted(settings, name, kept.get(name, FOREVER)) for name in missing]
            cluster.create(made)
        changed = _differing(cluster, known, kept)
        for name, (wanted, _) in changed.items():
            cluster.change(name, wanted)
    except NotReady as error:
        raise unreachable(settings, error) from error
    return [
        f"log topic {name}: " + (f"has {known[name].partitions}" if name in known else "made with "
        f"{settings.kafka_partitions}") + f" partitions, kept {kept.get(name, FOREVER)}"
        + (f"; it was {_spelt(changed[name][1], known[name])}" if name in changed else "")
        for name in names
    ]  # fmt: skip


def kept_otherwise(settings: Settings, kept: Mapping[str, Kept]) -> dict[str, str]:
    """Topics that the brokers do not keep as they are to be kept, and how they do. Raise
    `NotReady`.
    """
    cluster = Cluster(properties(settings.log_url))
    known = cluster.describe(kept)
    found = _differing(cluster, known, kept)
    return {name: _spelt(there, known[name]) for name, (_, there) in found.items()}


def _differing(
    cluster: Cluster, known: Mapping[str, Described], kept: Mapping[str, Kept]
) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """Of the topics that there are: what is wanted, and what there is instead."""
    found = {}
    for name, there in cluster.settings(known).items() if known else ():
        wanted = _retention(kept.get(name, FOREVER), known[name].partitions)
        if any(there[setting] != value for setting, value in wanted.items()):
            found[name] = wanted, there
    return found


def _retention(kept: Kept, partitions: int) -> dict[str, str]:
    """The brokers count the bytes of each partition, and let whole segments go."""
    return {
        "retention.ms": str(kept.ms if kept.hours else -1),
        "retention.bytes": str(-(-kept.bytes // partitions) if kept.bytes else -1),
    }


def _spelt(there: Mapping[str, str], topic: Described) -> str:
    ms, size = int(there["retention.ms"]), int(there["retention.bytes"])
    return str(Kept(max(ms, 0) / 3_600_000, max(size, 0) * topic.partitions))


def verified(cluster: Cluster, settings: Settings, names: Sequence[str]) -> dict[str, Described]:
    """The topics, by name. Raise `Misconfigured` for one that is not as it is to be, and `NotReady`
    when the brokers do not answer.
    """
    deadline = time.monotonic() + _SPREAD_SECONDS
    while True:
        known = cluster.describe(names)
        ready = known.keys() >= set(names) and all(topic.led for topic in known.values())
        if ready or time.monotonic() > deadline:
            break
        time.sleep(_LOOK_AGAIN_SECONDS)
    if missing := [name for name in names if name not in known]:
        raise Misconfigured(
            f"PENSTOCK_LOG: {redacted(settings.log_url)} has no topic {', '.join(missing)}; "
            "run `penstock migrate`"
        )
    for name, topic in known.items():
        if topic.partitions < settings.kafka_partitions:
            raise Misconfigured(
                f"PENSTOCK_KAFKA_PARTITIONS is {settings.kafka_partitions}, and the topic {name} "
                f"has {topic.partitions} partitions; set it to {topic.partitions}: adding some "
                "would send the keys of old records elsewhere"
            )
    return known


def _wanted(settings: Settings, name: str, kept: Kept) -> NewTopic:
    """`acks=all` means as much as the number of copies that have to be in sync."""
    return NewTopic(
        name,
        num_partitions=settings.kafka_partitions,
        replication_factor=settings.kafka_replication,
        config={
            **_retention(kept, settings.kafka_partitions),
            "min.insync.replicas": str(min(2, settings.kafka_replication)),
        },
    )


def unreachable(settings: Settings, error: NotReady) -> Misconfigured:
    return Misconfigured(f"PENSTOCK_LOG: {redacted(settings.log_url)}: {error}")
