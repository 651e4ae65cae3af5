"""Talking to a log as a test does: wait for the answer, read everything, sum the ledger."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from penstock.core.errors import NotReady
from penstock.core.log import Append, Batch, Follow, Log, Minute, Receipt
from penstock.core.log.awaiting import submitted

T = TypeVar("T")

TOPIC = "tests.events"
ANSWER_SECONDS = 180.0
"""Patience with whatever comes in the end, brokers that have lost their leader among it."""


def begin(log: Log, *appends: Append) -> "Future[Sequence[Receipt]]":
    """Submit; the future has the receipts, or the error, once the log has answered."""
    return submitted(log, appends)


def submit(log: Log, *appends: Append) -> Sequence[Receipt]:
    """Receipts, once durable. Raise what the log answered."""
    return begin(log, *appends).result(ANSWER_SECONDS)


def add(log: Log, *payloads: bytes, topic: str = TOPIC, key: str = "") -> Receipt:
    return submit(log, Append(topic, payloads, idempotency_key=key))[0]


def under(key: str, fingerprint: bytes, *payloads: bytes, answer: bytes = b"") -> Append:
    """An append as the edge makes it of a request with an idempotency key."""
    return Append(TOPIC, payloads, idempotency_key=key, fingerprint=fingerprint, answer=answer)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + ANSWER_SECONDS
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def patiently(work: Callable[[], T]) -> T:
    """Again while it is not ready: brokers of a slow machine may say nothing for a while."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            return work()
        except NotReady:
            assert time.monotonic() < deadline, "they never answer"
            time.sleep(0.1)


def contents(log: Follow, topic: str = TOPIC, partition: int = 0) -> list[bytes]:
    """Every record that can be read of a partition."""
    reader, position, proof = log.reader(), log.start(topic, partition), ""
    found: list[bytes] = []

    def read() -> Batch:
        return reader.read(topic, partition, position, 1 << 40, proof)

    try:
        while (batch := patiently(read)).next > position:
            found += batch.payloads
            position, proof = batch.next, batch.proof
        return found
    finally:
        reader.close()


def account(log: Follow, topic: str = TOPIC) -> Minute:
    """The topic's ledger, all minutes summed; `minute` is how many there were."""
    minutes = log.ledger(topic, 0)
    columns = list(zip(*minutes, strict=True))[1:] or [(0,)] * 4
    return Minute(len(minutes), *map(sum, columns))


def balanced(account: Minute) -> bool:
    parts = account.stored + account.duplicate + account.rejected
    return min(account[1:]) >= 0 and account.received == parts
