"""What an operator asks of a running process: is it alive, is it ready, where does it stand?

Nothing here waits for what users ask, and readiness and metrics wait for nothing long: each is
looked at on a thread of its own, and what was seen last answers when a look takes its time. One
look answers all who asked before it began, and looks rest, so that asking often costs little.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Annotated, Literal, cast

import msgspec
from msgspec import Meta
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from penstock.core import timing
from penstock.core.edge import Received, Response
from penstock.core.edge.endpoints import AnswerEndpoint
from penstock.core.errors import NotReady, told
from penstock.core.interface import Answer, Asked, Interface
from penstock.core.log import Minute
from penstock.core.log.disk import shortage
from penstock.core.platform import Platform
from penstock.core.platform.offering import offer_at
from penstock.core.poller import Poller
from penstock.core.projection.runner import Consumer
from penstock.core.stages import MinuteStage, Pipeline, ProjectionStage, TopicStage

_MINUTES_SHOWN = 60

_PATIENCE_SECONDS = 0.1
"""So long an answer waits for a look that begins now."""
_READY_FRESH_SECONDS = 0.1
_READY_EVERY_SECONDS = 1.0
_READY_SECONDS_MAX = 3.0
"""Something hangs when the last look that ended is older."""
_METRICS_EVERY_SECONDS = 5.0
_METRICS_SECONDS_MAX = 15.0
_STAGES_EVERY_SECONDS = 60.0
_STAGES_SECONDS_MAX = 15.0

Check = Callable[[], str]
"""What is wrong, or nothing. What it raises is wrong too."""


class Alive(msgspec.Struct, frozen=True):
    status: Literal["alive"]


class Ready(msgspec.Struct, frozen=True, omit_defaults=True):
    status: Literal["ready"]
    warnings: Annotated[
        dict[str, str], Meta(description="What is odd, and stands in nobody's way; only if any is.")
    ] = {}


class Unready(msgspec.Struct, frozen=True):
    status: Literal["not_ready"]
    problems: Annotated[
        dict[str, str], Meta(description="What is wrong, by what it is wrong with.")
    ]


OFFERS = (
    Asked(
        operation="healthz",
        paths=("/healthz",),
        summary="Whether the process lives.",
        interface=Interface(
            answers=(Answer(meaning="It does.", shape=Alive, example=b'{"status":"alive"}'),)
        ),
    ),
    Asked(
        operation="readyz",
        paths=("/readyz",),
        summary="Whether events can be made durable and every view answers.",
        interface=Interface(
            answers=(
                Answer(meaning="All of it.", shape=Ready, example=b'{"status":"ready"}'),
                Answer(status=503, meaning="Not all of it.", shape=Unready),
            )
        ),
    ),
    Asked(
        operation="metrics",
        paths=("/metrics",),
        summary="What is measured, for Prometheus.",
        interface=Interface(
            answers=(
                Answer(
                    meaning="The text form of Prometheus.",
                    shape=str,
                    media=CONTENT_TYPE_LATEST,
                ),
            ),
            errors=(NotReady.default_code,),
        ),
    ),
    Asked(
        operation="pipeline",
        paths=("/api/pipeline",),
        summary="How far every stage is: offsets, lag, last error, and whether accounts balance.",
        interface=Interface(
            answers=(Answer(meaning="Every stage.", shape=Pipeline),),
            errors=(NotReady.default_code,),
        ),
    ),
)


class Health:
    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._readiness = Readiness(platform)
        self._scrapes: Poller[bytes] = Poller(
            "metrics",
            self._scrape,
            every_seconds=_METRICS_EVERY_SECONDS,
            first_seconds=_METRICS_SECONDS_MAX,
            clock=platform.clock,
        )
        self.staged: Poller[Pipeline] = Poller(
            "stages",
            self._stages,
            every_seconds=_STAGES_EVERY_SECONDS,
            first_seconds=_STAGES_SECONDS_MAX,
            clock=platform.clock,
        )

    def offer(self) -> None:
        """Before the platform starts: then the first looks begin."""
        self._platform.pollers += [self._readiness.poller, self._scrapes, self.staged]
        answers = (self.alive, self.ready, self.metrics, self.pipeline)
        for offer, answer in zip(OFFERS, answers, strict=True):
            endpoint = AnswerEndpoint(
                operation=offer.operation,
                body_bytes_max=offer.body_bytes_max,
                answer=answer,
                sheds=False,
            )
            offer_at(self._platform.edge, offer, endpoint)

    async def alive(self, received: Received) -> Response:
        del received
        return Response.json(Alive("alive"))

    async def ready(self, received: Received) -> Response:
        """200 only when events can be made durable and every view answers (AU-110)."""
        del received
        problems = await self.problems()
        if problems:
            return Response.json(Unready("not_ready", problems), 503)
        return Response.json(Ready("ready", self.warnings()))

    def warnings(self) -> dict[str, str]:
        """What is odd, and stands in nobody's way."""
        odd = dict(timing.warnings(self._platform.consumers.carried, self._platform.clock))
        odd.update(self._platform.near.warnings())
        if (editing := self._platform.editing) is not None and editing.relay is not None:
            odd.update(editing.relay.warnings())
        return odd

    async def problems(self) -> dict[str, str]:
        """What stands in the way of being ready."""
        return await self._readiness.problems()

    async def metrics(self, received: Received) -> Response:
        del received
        seen = await self._scrapes.ask(fresh_seconds=0, patience_seconds=_PATIENCE_SECONDS)
        if seen is None or self._scrapes.age(seen) > _METRICS_SECONDS_MAX:
            raise NotReady(f"no metrics could be had for {_METRICS_SECONDS_MAX:.0f} seconds")
        return Response(200, seen.value, ((b"content-type", CONTENT_TYPE_LATEST.encode()),))

    def _scrape(self) -> bytes:
        return generate_latest(self._platform.registry.prometheus)

    async def pipeline(self, received: Received) -> Response:
        """Per stage: last offset, lag in seconds and records, last error, balance."""
        del received
        seen = await self.staged.ask(fresh_seconds=0, patience_seconds=_STAGES_SECONDS_MAX)
        if seen is None or self.staged.age(seen) > _STAGES_SECONDS_MAX:
            raise NotReady(f"no stage told where it is for {_STAGES_SECONDS_MAX:.0f} seconds")
        return Response.json(seen.value)

    def _stages(self) -> Pipeline:
        platform = self._platform
        since = platform.clock.now_ms() // 60_000 - _MINUTES_SHOWN
        topics = [
            self._topic(topic.name, since)
            for manifest in platform.manifests
            for topic in manifest.topics
        ]
        projections = [
            line for consumer in platform.consumers.values() for line in self._projection(consumer)
        ]
        log = platform.log
        return {
            "log": {
                "last_error": platform.follow.failure(),
                "spooled": 0 if log is None else log.spooled,
            },
            "topics": topics,
            "projections": projections,
            "mirrors": [
                stage
                for consumer in platform.consumers.values()
                if consumer.filling is not None
                for stage in consumer.filling.stages()
            ],
        }

    def _projection(self, consumer: Consumer) -> list[ProjectionStage]:
        """What is known of each partition, whoever carries it, though log or state may be away."""
        platform = self._platform
        dead_letters = platform.require_stores().dead_letters
        quarantined: Counter[int] | None = None
        with suppress(NotReady):
            quarantined = dead_letters.by_partition(consumer.projection.name)
        projections: list[ProjectionStage] = []
        for cursor in consumer.cursors.values():
            line: ProjectionStage = {
                "projection": consumer.projection.name,
                "partition": cursor.partition,
                "state": cursor.state,
                "position": cursor.position,
                "quarantined": None,
                "remembered": platform.follow.remembers(),
            }
            if quarantined is not None:
                line["quarantined"] = quarantined[cursor.partition]
            try:
                line.update(cast("ProjectionStage", asdict(cursor.status())))
            except NotReady as error:
                line["last_error"] = told(error)
            projections.append(line)
        projections += [
            {
                "projection": consumer.projection.name,
                "topic": consumer.projection.topic.name,
                "partition": place.partition,
                "state": "elsewhere",
                "position": place.position,
                "end": place.end,
                "lag_records": place.lag,
                "lag_seconds": platform.watch.lag_seconds(place),
                "quarantined": None if quarantined is None else quarantined[place.partition],
                "remembered": platform.follow.remembers(),
                "last_error": "",
            }
            for place in platform.watch.elsewhere(consumer.projection.name)
        ]
        return projections

    def _topic(self, topic: str, since: int) -> TopicStage:
        """`remembered` says why start and end are what was known last, where they are."""
        follow = self._platform.follow
        line: TopicStage = {
            "topic": topic,
            "start": None,
            "end": None,
            "remembered": "",
            "last_error": "",
            "balanced": True,
            "minutes": [],
        }
        try:
            line["minutes"] = [_account(minute) for minute in follow.ledger(topic, since)]
            line["balanced"] = all(minute["balanced"] for minute in line["minutes"])
            partitions = range(follow.partitions(topic))
            line["partitions"] = len(partitions)
            line["start"] = sum(follow.start(topic, p) for p in partitions)
            line["end"] = sum(follow.end(topic, p) for p in partitions)
            line["remembered"] = follow.remembers()
        except NotReady as error:
            line["last_error"] = told(error)
        return line


def _account(minute: Minute) -> MinuteStage:
    balanced = minute.received == minute.stored + minute.duplicate + minute.rejected
    return cast("MinuteStage", {**minute._asdict(), "balanced": balanced})


class Readiness:
    """Whether events can be made durable and every view answers, looked at every second."""

    def __init__(self, platform: Platform) -> None:
        self.poller: Poller[dict[str, str]] = Poller(
            "ready",
            self._look,
            every_seconds=_READY_EVERY_SECONDS,
            first_seconds=_READY_SECONDS_MAX,
            clock=platform.clock,
        )
        self._platform = platform
        self._failing: set[str] = set()
        """Checks that raised when they were made last: a line tells of it when it begins."""
        self._in_hand = "start", platform.clock.monotonic()
        """The check that was begun last, and when."""

    async def problems(self) -> dict[str, str]:
        """What is wrong, by what it is wrong with: as it was a moment ago, or which check hangs."""
        seen = await self.poller.ask(
            fresh_seconds=_READY_FRESH_SECONDS, patience_seconds=_PATIENCE_SECONDS
        )
        if seen is not None and self.poller.age(seen) <= _READY_SECONDS_MAX:
            return seen.value
        name, since = self._in_hand
        return {name: f"no answer for {self._platform.clock.monotonic() - since:.1f} seconds"}

    def _look(self) -> dict[str, str]:
        problems = {}
        for name, check in self._checks():
            self._in_hand = name, self._platform.clock.monotonic()
            try:
                problem = check()
            except Exception as error:  # noqa: BLE001 - the store's own kind, whatever it is
                problem = told(error)
                if name not in self._failing:
                    said = f"{type(error).__name__}: {error}"
                    self._platform.logger.warning("ready.failed", check=name, error=said)
                self._failing.add(name)
            else:
                self._failing.discard(name)
            if problem:
                problems[name] = problem
        return problems

    def _checks(self) -> Iterator[tuple[str, Check]]:
        platform = self._platform
        yield "process", lambda: platform.dead
        if platform.roles & {"edge", "work"}:
            yield "log", platform.follow.failure  # who only answers can do so without
        if platform.log is not None:
            settings = platform.settings
            yield "disk", partial(shortage, settings.folder, settings.disk_free_bytes_min)
        for name in platform.near.names:
            yield f"near {name}", partial(platform.near.problem, name)
        if platform.stores is None:
            return
        if platform.stores.warehouse is not None:
            yield "warehouse", _asking(platform.stores.warehouse.ping)
        yield "state", _asking(platform.stores.state.ping)
        yield "watch", platform.watch.hanging
        for name, consumer in platform.consumers.items():
            yield name, partial(self._view, name, consumer)
        for table in platform.watch.mirrors if "api" in platform.roles else ():
            yield table, partial(platform.watch.mirror_problem, table)

    def _view(self, name: str, consumer: Consumer) -> str:
        platform = self._platform
        if consumer in platform.consumers.carried and (problem := _standstill(consumer)):
            return problem
        return platform.watch.problem(name) if "api" in platform.roles else ""


def _asking(question: Callable[[], object]) -> Check:
    """All is well with who answers, whatever it says."""

    def check() -> str:
        question()
        return ""

    return check


def _standstill(consumer: Consumer) -> str:
    return "" if consumer.state == "running" else consumer.last_error or consumer.state
