"""What the brokers say of themselves, of topics and of where these begin and end."""

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined] # it does
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic

from penstock.core.errors import NotReady
from penstock.core.log.kafka.address import client, reason

T = TypeVar("T")
Place = tuple[str, int]
"""A partition of a topic."""

_OUTDATED = {
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.NOT_LEADER_FOR_PARTITION,
}
"""A client believes for minutes what it knew of leaders before they changed; a new one asks."""

_REFUSALS = {KafkaError._AUTHENTICATION, KafkaError._SSL}  # noqa: SLF001 - the client's names

_RENEW_SECONDS = 5.0
"""A client that is asked in vain for so long is replaced, and the next one after as long. One was
seen to answer nothing for 90 seconds after all brokers had been away and were back, while the
producer beside it had all its answers.
"""
_ASK_SECONDS = 10.0
_LOOK_SECONDS = 0.2
_OFFSETS_SECONDS = 2.0
_CREATE_SECONDS = 30.0
_ANSWER_SECONDS_MAX = 35.0
"""Longer than the client itself waits for any answer."""


class Described(NamedTuple):
    """A topic, as the brokers have it."""

    identity: str
    partitions: int
    led: bool
    """Whether every partition has a leader."""


class Cluster:
    """Every question raises `NotReady` when the brokers do not answer it in time."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self._properties = {**properties, "error_cb": self._note}
        self._admin: AdminClient
        self._id = ""
        self._begin()

    def describe(self, topics: Iterable[str]) -> dict[str, Described]:
        """Those of the topics that there are."""
        admin = self._admin
        asked = admin.describe_topics(TopicCollection(list(topics)), request_timeout=_ASK_SECONDS)
        self._id = self._id or str(
            self._answer(admin, admin.describe_cluster(request_timeout=_ASK_SECONDS)).cluster_id
        )
        found = {}
        for name, future in asked.items():
            topic = self._answer(admin, future, missing=KafkaError.UNKNOWN_TOPIC_OR_PART)
            if topic is not None:
                led = all(partition.leader is not None for partition in topic.partitions)
                identity = f"{self._id}/{topic.topic_id}"
                found[name] = Described(identity, len(topic.partitions), led)
        self._vain_since = float("inf")
        return found

    def starts(self, places: Iterable[Place]) -> dict[Place, int]:
        """The oldest offsets still kept."""
        return self._offsets(places, OffsetSpec.earliest())  # type: ignore[no-untyped-call] # theirs

    def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """The offsets that the next records will get."""
        return self._offsets(places, OffsetSpec.latest())  # type: ignore[no-untyped-call] # theirs

    def _offsets(self, places: Iterable[Place], which: OffsetSpec) -> dict[Place, int]:
        admin = self._admin
        asked = admin.list_offsets(
            {TopicPartition(topic, partition): which for topic, partition in places},
            request_timeout=_OFFSETS_SECONDS,
        )
        found = {}
        for place, future in asked.items():
            offset = int(self._answer(admin, future).offset)
            if offset < 0:  # librdkafka's -1001: an answer was there, and this was not in it
                raise self._away(f"no offset for {place.topic}/{place.partition}")
            found[place.topic, place.partition] = offset
        self._vain_since = float("inf")
        return found

    def create(self, topics: Sequence[NewTopic]) -> None:
        """Those that exist by now are left as they are."""
        admin = self._admin
        made = admin.create_topics(
            list(topics), operation_timeout=_CREATE_SECONDS, request_timeout=_CREATE_SECONDS
        )
        for future in made.values():
            self._answer(admin, future, missing=KafkaError.TOPIC_ALREADY_EXISTS)

    def settings(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """What is configured of topics that there are."""
        admin = self._admin
        asked = admin.describe_configs(
            [ConfigResource(ResourceType.TOPIC, topic) for topic in topics],
            request_timeout=_ASK_SECONDS,
        )
        return {
            resource.name: {
                entry.name: str(entry.value) for entry in self._answer(admin, future).values()
            }
            for resource, future in asked.items()
        }

    def change(self, topic: str, settings: Mapping[str, str]) -> None:
        """These, and no other."""
        admin = self._admin
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in settings.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        for future in admin.incremental_alter_configs(
            [resource], request_timeout=_ASK_SECONDS
        ).values():
            self._answer(admin, future)

    def _answer(
        self, admin: AdminClient, future: "Future[Any]", *, missing: int | None = None
    ) -> Any:
        """None for the error that only says that there is nothing, or nothing to do.

        Whoever waits holds the client that was asked: one that nobody holds any more is gone, and
        answers never.
        """
        try:
            return self._wait(admin, future)
        except KafkaException as error:
            code = error.args[0].code()
            if code == missing:
                return None
            if code in _OUTDATED:
                self._begin()
            raise self._away(reason(error)) from error

    def _wait(self, admin: AdminClient, future: "Future[Any]") -> Any:
        """Not for long when they refuse us: their minds will not change."""
        deadline = time.monotonic() + _ANSWER_SECONDS_MAX
        while True:
            try:
                return future.result(_LOOK_SECONDS)
            except TimeoutError:
                admin.poll(0)
                if self._refused:
                    raise self._away("they refuse us") from None
                if time.monotonic() > deadline:
                    raise self._away("the client is silent") from None

    def _away(self, what: str) -> NotReady:
        """A wrong password, say, is told beside the question that then has no answer."""
        self._admin.poll(0)
        trouble = f" ({self._trouble})" if self._trouble else ""
        self._vain_since = min(self._vain_since, time.monotonic())
        if time.monotonic() > self._vain_since + _RENEW_SECONDS:
            self._begin()
        return NotReady("the brokers do not answer", detail=f"{what}{trouble}")

    def _begin(self) -> None:
        """With a client that knows nothing yet."""
        self._trouble, self._refused, self._vain_since = "", False, float("inf")
        self._admin = client(AdminClient, self._properties)

    def _note(self, error: KafkaError) -> None:
        self._trouble = reason(error)
        self._refused = error.code() in _REFUSALS
