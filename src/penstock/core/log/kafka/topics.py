"""Topics as they are to be: made by `penstock migrate`, and looked at by every start."""

import time
from collections.abc import Sequence

from confluent_kafka.cimpl import NewTopic

from penstock.core.errors import Misconfigured, NotReady
from penstock.core.log.kafka.address import properties
from penstock.core.log.kafka.cluster import Cluster, Described
from penstock.core.settings import Settings, redacted

_SPREAD_SECONDS = 3.0
"""So long after a topic was made some brokers may not have heard of it."""
_LOOK_AGAIN_SECONDS = 0.1


def create_topics(settings: Settings, names: Sequence[str]) -> list[str]:
    """Make those that are missing; what was done, in words. Raise `Misconfigured`.

    What exists is left as it is: its partitions and its retention may have been changed since.
    """
    cluster = Cluster(properties(settings.log_url))
    try:
        known = cluster.describe(names)
        missing = [name for name in names if name not in known]
        if missing:
            cluster.create([_wanted(settings, name) for name in missing])
    except NotReady as error:
        raise unreachable(settings, error) from error
    return [
        f"log topic {name}: " + (f"has {known[name].partitions}" if name in known else "made with "
        f"{settings.kafka_partitions}") + " partitions"
        for name in names
    ]  # fmt: skip


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


def _wanted(settings: Settings, name: str) -> NewTopic:
    """`acks=all` means as much as the number of copies that have to be in sync."""
    hours = settings.kafka_retention_hours
    return NewTopic(
        name,
        num_partitions=settings.kafka_partitions,
        replication_factor=settings.kafka_replication,
        config={
            "retention.ms": str(int(hours * 3_600_000) if hours else -1),
            "min.insync.replicas": str(min(2, settings.kafka_replication)),
        },
    )


def unreachable(settings: Settings, error: NotReady) -> Misconfigured:
    return Misconfigured(f"PENSTOCK_LOG: {redacted(settings.log_url)}: {error}")
