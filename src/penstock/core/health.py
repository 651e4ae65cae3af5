"""What an operator asks of a running process: is it alive, is it ready, where does it stand?"""

from dataclasses import asdict
from functools import partial
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from penstock.core.edge import Received, Response
from penstock.core.edge.endpoints import AnswerEndpoint
from penstock.core.errors import NotReady, PenstockError
from penstock.core.log.disk import shortage
from penstock.core.platform import Platform

_MINUTES_SHOWN = 60


class Health:
    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def offer(self) -> None:
        for path, operation, answer in (
            ("/healthz", "healthz", self.alive),
            ("/readyz", "readyz", self.ready),
            ("/metrics", "metrics", self.metrics),
            ("/api/pipeline", "pipeline", self.pipeline),
        ):
            endpoint = AnswerEndpoint(
                operation=operation, body_bytes_max=1_024, answer=answer, sheds=False
            )
            self._platform.edge.add("GET", path, endpoint)

    async def alive(self, received: Received) -> Response:
        del received
        return Response.json({"status": "alive"})

    async def ready(self, received: Received) -> Response:
        """200 only when events can be made durable and every view answers (AU-110)."""
        del received
        problems: dict[str, str] = await self._platform.run(partial(self._problems))
        if problems:
            return Response.json({"status": "not_ready", "problems": problems}, 503)
        return Response.json({"status": "ready"})

    async def metrics(self, received: Received) -> Response:
        del received
        text: bytes = await self._platform.run(
            partial(generate_latest, self._platform.registry.prometheus)
        )
        return Response(200, text, ((b"content-type", CONTENT_TYPE_LATEST.encode()),))

    async def pipeline(self, received: Received) -> Response:
        """Per stage: last offset, lag in seconds and records, last error, balance."""
        del received
        stages: dict[str, Any] = await self._platform.run(partial(self._stages))
        return Response.json(stages)

    def _problems(self) -> dict[str, str]:
        platform = self._platform
        problems: dict[str, str] = {}
        if platform.roles & {"edge", "work"} and (failure := platform.follow.failure()):
            problems["log"] = failure  # who only answers can do so without
        if platform.log is not None:
            settings = platform.settings
            if short := shortage(settings.folder, settings.disk_free_bytes_min):
                problems["disk"] = short
        if platform.stores is not None:
            if platform.stores.warehouse is not None:
                try:
                    platform.stores.warehouse.query("SELECT 1", {})
                except PenstockError as error:
                    problems["warehouse"] = str(error)
            try:
                platform.stores.parking.letters(limit=1)
            except Exception as error:  # noqa: BLE001 - the store's own kind, whatever it is
                problems["state"] = str(error)
            for consumer in platform.carried:
                if consumer.state != "running":
                    problems[consumer.projection.name] = consumer.last_error or consumer.state
        return problems

    def _stages(self) -> dict[str, Any]:
        platform = self._platform
        since = platform.clock.now_ms() // 60_000 - _MINUTES_SHOWN
        topics = [
            self._topic(topic.name, since)
            for manifest in platform.manifests
            for topic in manifest.topics
        ]
        projections = []
        for consumer in platform.consumers.values():
            parking = platform.require_stores().parking
            quarantined = parking.by_partition(consumer.projection.name)
            for cursor in consumer.cursors.values():
                status = asdict(cursor.status())
                status["quarantined"] = quarantined.get(cursor.partition, 0)
                projections.append(status)
        log = platform.log
        told = {
            "last_error": platform.follow.failure(),
            "spooled": 0 if log is None else log.spooled,
        }
        return {"log": told, "topics": topics, "projections": projections}

    def _topic(self, topic: str, since: int) -> dict[str, Any]:
        follow = self._platform.follow
        minutes = [
            {**m._asdict(), "balanced": m.received == m.stored + m.duplicate + m.rejected}
            for m in follow.ledger(topic, since)
        ]
        told: dict[str, Any] = {
            "topic": topic,
            "start": None,
            "end": None,
            "last_error": "",
            "balanced": all(minute["balanced"] for minute in minutes),
            "minutes": minutes,
        }
        try:
            partitions = range(follow.partitions(topic))
            told["partitions"] = len(partitions)
            told["start"] = sum(follow.start(topic, p) for p in partitions)
            told["end"] = sum(follow.end(topic, p) for p in partitions)
        except NotReady as error:
            told["last_error"] = str(error)
        return told
