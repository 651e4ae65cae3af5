"""What an operator asks of a running process: is it alive, is it ready, where does it stand?"""

import shutil
from dataclasses import asdict
from functools import partial
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from penstock.core.edge import Received, Response
from penstock.core.edge.endpoints import AnswerEndpoint
from penstock.core.errors import PenstockError
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
        if platform.log is not None and (failure := platform.log.failure()):
            problems["log"] = failure
        if platform.log is not None:
            free = shutil.disk_usage(platform.settings.folder).free
            if free < platform.settings.disk_free_bytes_min:
                problems["disk"] = f"only {free} bytes are free"
        if platform.stores is not None:
            try:
                platform.stores.warehouse.query("SELECT 1", {})
            except PenstockError as error:
                problems["warehouse"] = str(error)
            try:
                platform.stores.parking.letters(limit=1)
            except Exception as error:  # noqa: BLE001 - the store's own kind, whatever it is
                problems["state"] = str(error)
            if "work" in platform.roles:
                for consumer in platform.consumers.values():
                    if consumer.state not in ("running", "paused"):
                        problems[consumer.projection.name] = consumer.last_error or consumer.state
        return problems

    def _stages(self) -> dict[str, Any]:
        platform = self._platform
        since = platform.clock.now_ms() // 60_000 - _MINUTES_SHOWN
        topics = []
        for manifest in platform.manifests:
            for topic in manifest.topics:
                minutes = [
                    {**m._asdict(), "balanced": m.received == m.stored + m.duplicate + m.rejected}
                    for m in platform.follow.ledger(topic.name, since)
                ]
                topics.append(
                    {
                        "topic": topic.name,
                        "start": platform.follow.start(topic.name, 0),
                        "end": platform.follow.end(topic.name, 0),
                        "balanced": all(minute["balanced"] for minute in minutes),
                        "minutes": minutes,
                    }
                )
        projections = []
        for consumer in platform.consumers.values():
            status = asdict(consumer.status())
            if platform.stores is not None:
                name = consumer.projection.name
                status["quarantined"] = platform.stores.parking.count(name)
            projections.append(status)
        log_error = platform.log.failure() if platform.log is not None else ""
        return {"log": {"last_error": log_error}, "topics": topics, "projections": projections}
