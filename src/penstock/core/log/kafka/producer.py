"""One session of librdkafka's idempotent producer: what it is given arrives, once and in order.

It gives up by itself only if it is told when. Should it fail, what has arrived of the rest is not
known: the session is abandoned, and whoever begins another one looks, or says it all again.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from penstock.core.log.kafka import repeats
from penstock.core.log.kafka.address import client, reason
from penstock.core.log.kafka.sending import Part, Report

if TYPE_CHECKING:
    from confluent_kafka.cimpl import DeliveryCallback

HEADER = "penstock-id"
"""Sixteen bytes of the session, eight of the record: no two records have the same."""
SESSION_BYTES = 16

_POLL_SECONDS = 0.1

PROPERTIES = {
    "acks": "all",
    "enable.idempotence": True,
    # That a later record arrived means that all before it did, or nothing does any more.
    "enable.gapless.guarantee": True,
    # What waits is bounded by the log, which answers; a full queue would have no answer.
    "queue.buffering.max.messages": 0,
    "queue.buffering.max.kbytes": 2_147_483_647,
}
DEFAULTS = {
    # As long as one request is under way the next one gathers. With more of them librdkafka asks in
    # a loop whether it may send: its threads took five times the CPU, and brokers more requests.
    "max.in.flight": 1,
    # What is submitted together leaves together.
    "linger.ms": 1,
    "compression.type": "lz4",
}
"""What an installation may choose otherwise."""


class KafkaSession:
    """`report` and `failed` are called on its own thread, `failed` once at most."""

    def __init__(
        self,
        properties: Mapping[str, Any],
        report: Report,
        failed: Callable[[str], None],
        *,
        patience_seconds: float = 0.0,
    ) -> None:
        """With `patience_seconds` it fails when something has not arrived for so long."""
        self.id = uuid4().bytes
        self._numbers = count()
        self._report = report
        self._failed = failed
        self._over = False
        silent = logging.getLogger(f"{__name__}.silent")
        silent.propagate = False
        silent.addHandler(logging.NullHandler())
        patience = {"message.timeout.ms": round(1000 * patience_seconds)}
        wanted = {**DEFAULTS, **properties, **PROPERTIES, **patience, "logger": silent}
        producer = client(Producer, wanted)
        self._producer: Producer | None = producer
        self._thread = threading.Thread(
            target=self._run, args=(producer.poll,), name="penstock-kafka", daemon=True
        )
        self._thread.start()

    def name(self, part: Part) -> None:
        """Give its records the names that they keep for ever."""
        session, number = self.id, self._numbers
        part.ids = [session + next(number).to_bytes(8, "big") for _ in part.payloads]

    def send(self, part: Part) -> None:
        """Never blocks. When it fails, the session does."""
        if self._over or self._producer is None:
            return
        produce, topic, partition = self._producer.produce, part.topic, part.partition
        at_ms, last = part.at_ms, len(part.payloads) - 1
        told: DeliveryCallback | None = part.begun if last and part.append >= 0 else None
        try:
            for n, payload in enumerate(part.payloads):
                if n == last:
                    told = partial(self._arrived, part)
                headers: list[tuple[str, str | bytes | None]] = [(HEADER, part.ids[n])]
                if part.origins:
                    headers.append((repeats.HEADER, part.origins[n]))
                produce(topic, payload, part.keys[n], partition, told, None, at_ms, headers)
                told = None
        except (BufferError, KafkaException) as error:
            self._fail(reason(error))

    def end(self) -> None:
        """Nothing is sent or reported from now on. Hold what keeps others from sending."""
        self._over = True

    def abandon(self) -> None:
        """After `end`: return when what was not sent by now will not be. Idempotent."""
        self._thread.join()
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaException):  # purging fails it for good, which is no news
                producer.purge()
                producer.flush(_POLL_SECONDS)  # or the records would stay in memory for ever

    def _run(self, poll: Callable[[float], int]) -> None:
        while not self._over:
            try:
                poll(_POLL_SECONDS)
            except Exception as error:  # noqa: BLE001 - of the client, or of those who are told
                self._fail(f"{type(error).__name__}: {reason(error)}")

    def _arrived(self, part: Part, error: KafkaError | None, message: Message) -> None:
        if self._over:
            return
        if error is not None:
            self._fail(reason(error))
            return
        if len(part.payloads) == 1 and part.append >= 0:
            part.begun(None, message)
        self._report(part, message.offset() or 0)

    def _fail(self, why: str) -> None:
        if not self._over:
            self._over = True
            self._failed(why)
