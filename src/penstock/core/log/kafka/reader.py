"""Reading at positions that others keep: no group, never a silent jump, and no repeat."""

import time
from collections import deque
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from penstock.core.errors import Disproved, NotReady
from penstock.core.log import FORGOTTEN, Batch, Damage, Made
from penstock.core.log.kafka import repeats
from penstock.core.log.kafka.address import client, reason
from penstock.core.log.kafka.cluster import Place
from penstock.core.log.kafka.repeats import Memory

_BATCH_BYTES_MAX = 16 << 20
_AHEAD_BYTES_MAX = 4 << 20
"""What may wait here of a partition that nobody asks for while others are read."""
_AT_ONCE = 2_000
_MORE_SECONDS = 0.05
"""How long one waits at the end of a partition for what is said to have been added just now."""
_SILENCE_SECONDS = 5.0
"""Brokers that neither send records nor say that there are none are away."""
_SILENCES_MAX = 2
"""After so many in a row the client is replaced, as a `Cluster` replaces its own."""
_FORGET_SECONDS = 30.0
_BELIEVED_SECONDS = 30.0
"""So long a client that reads on is believed to have noticed what the brokers cut off."""

_PROPERTIES = {
    "group.id": "penstock-reader",  # the client insists on one; it is never joined
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "check.crcs": True,
    "queued.max.messages.kbytes": 16_384,
    # A broker answers once a tenth of a second, or sooner when there is much: an answer for every
    # record took a fifth of the brokers' time. The default is one byte, or half a second.
    "fetch.min.bytes": 65_536,
    "fetch.wait.max.ms": 100,
    # A full queue is looked at again soon; the default is a second.
    "fetch.queue.backoff.ms": 5,
}


class _Tail:
    """What was fetched of one partition and not yet read."""

    __slots__ = (
        "asked_at", "ended", "error", "fetched", "heard", "lost", "memory", "paused", "position",
        "records", "seal", "since", "size",
    )  # fmt: skip

    def __init__(self, offset: int, proof: str = "") -> None:
        """`proof` is that of the record before `offset`, with what is remembered of all before."""
        self.position = offset
        """What will be read next."""
        self.seal, self.memory = _sealed(proof)
        """Of the last record that was read, as far as any was; and what is known of repeats."""
        self.fetched = offset
        """What the client will hand over next."""
        self.records: deque[Message] = deque()
        self.size = 0
        self.heard = False
        self.ended = False
        """There is nothing at `fetched` yet, as far as was heard."""
        self.error: KafkaError | None = None
        self.lost: Damage | None = None
        self.paused = False
        self.asked_at = 0.0
        self.since = time.monotonic()

    def hear(self, message: Message) -> None:
        offset, error = message.offset() or 0, message.error()
        if error is None:
            if offset >= self.fetched:
                self.records.append(message)
                self.size += len(message)
                self.fetched, self.heard, self.ended = offset + 1, True, False
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's name for it
            self.fetched, self.heard, self.ended = max(self.fetched, offset), True, True
        else:
            self.error = error

    def take(self, limit: int) -> Batch:
        first = self.position
        if self.lost is not None:
            self.position = min(first + limit, self.lost.next)
            lost = self.lost._replace(first=first, next=self.position)
            self.lost = None if self.position == self.lost.next else self.lost
            return Batch(first, self.position, (), (), 0, (lost,), proof=self.proof)
        origins, taken = list[Made | None](), list[Message]()
        for message in self.next(limit):
            said = _said(message)
            if said is None or self.memory.takes(said):
                taken.append(message)
                origins.append(said and said.made)
        times = [message.timestamp()[1] for message in taken]
        return Batch(
            first,
            self.position,
            [message.offset() or 0 for message in taken],
            [message.value() or b"" for message in taken],
            times[0] if times else 0,
            taken_ms=times,
            proof=self.proof,
            origins=origins,
        )

    def next(self, limit: int) -> list[Message]:
        """The next records, repeats among them."""
        taken = [self.records.popleft() for _ in range(min(limit, len(self.records)))]
        self.size -= sum(map(len, taken))
        self.position = (self.records[0].offset() or 0) if self.records else self.fetched
        if taken:
            self.seal = _seal(taken[-1])
        return taken

    @property
    def proof(self) -> str:
        """Of all that was read."""
        return f"{self.seal}:{known}" if (known := self.memory.text) else self.seal


class KafkaReader:
    """Reads several partitions in turn, for one thread at a time."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self._properties = {**properties, **_PROPERTIES, "error_cb": self._note_trouble}
        self._trouble = ""
        self._silences = 0
        """How often in a row nothing at all was heard."""
        self._consumer = client(Consumer, self._properties)
        self._tails: dict[Place, _Tail] = {}

    def read(
        self, topic: str, partition: int, offset: int, limit: int, proof: str | None = None
    ) -> Batch:
        """Raise `NotReady` when the brokers are away, or no longer have what was read before."""
        place = (topic, partition)
        try:
            tail = self._tail(place, offset, proof, limit)
            if limit == 0:
                return Batch(offset, offset, (), (), 0, proof=tail.proof)
            if tail.lost is None:
                self._fill(place, tail, limit)
        except KafkaException as error:
            place_read = f"reading {topic}/{partition} at {offset}"
            raise NotReady(place_read, detail=reason(error)) from error
        return tail.take(limit)

    def close(self) -> None:
        self._consumer.close()

    # -- which partitions are fetched ---------------------------------------------------------

    def _tail(self, place: Place, offset: int, proof: str | None, limit: int) -> _Tail:
        """Where reading goes on, what was read before is what it was: the client itself notices
        when the brokers cut off what it has read. It is believed for a while; then, and anywhere
        else, the record of the proof is looked at.
        """
        now = time.monotonic()
        tail = self._tails.get(place)
        if tail is not None and proof and limit > 0 and now > tail.since + _BELIEVED_SECONDS:
            tail = None
        if tail is None or tail.position != offset or (proof and proof != tail.proof):
            for other in [p for p, t in self._tails.items() if t.asked_at < now - _FORGET_SECONDS]:
                self._forget(other)
            if proof is None or offset == 0:
                tail = self._begin(place, offset, _Tail(offset))
            else:
                tail = self._behind(place, offset, proof)
        tail.asked_at = now
        return tail

    def _behind(self, place: Place, offset: int, proof: str) -> _Tail:
        """Begin behind a record, if it is the one of the proof; without one, note which it is.

        Raise `Disproved`. What retention deleted proves nothing.
        """
        at = _place(proof) if proof else offset - 1
        tail = self._begin(place, at, _Tail(at))
        self._fill(place, tail, 1)
        if tail.lost is not None:
            return self._begin(place, offset, _Tail(offset, proof))
        found = tail.next(1)
        if not found and tail.fetched <= at:
            _, end = self._ends(place)
            if end > at:
                raise NotReady(f"record {at} of {place[0]}/{place[1]} does not show yet")
            raise Disproved(f"the log ends at {end}")
        known, tail.memory = _sealed(proof)
        if proof and tail.seal != known:
            raise Disproved("the log has other records there")
        if at not in [message.offset() for message in found]:
            return self._begin(place, offset, _Tail(offset, proof))
        tail.position, tail.fetched = offset, max(offset, tail.fetched)  # no record lies between
        return tail

    def _ends(self, place: Place) -> tuple[int, int]:
        """The oldest offset still kept, and the one that the next record will get."""
        found: tuple[int, int] = self._consumer.get_watermark_offsets(
            TopicPartition(*place), timeout=_SILENCE_SECONDS
        )
        return found

    def _begin(self, place: Place, offset: int, tail: _Tail) -> _Tail:
        self._forget(place)
        self._consumer.incremental_assign([TopicPartition(*place, offset)])
        self._tails[place] = tail
        return tail

    def _forget(self, place: Place) -> None:
        if self._tails.pop(place, None) is not None:
            self._consumer.incremental_unassign([TopicPartition(*place)])

    # -- fetching -----------------------------------------------------------------------------

    def _fill(self, place: Place, tail: _Tail, limit: int) -> None:
        """Gather until there is enough, or no more can be had at once."""
        if tail.paused:
            tail.paused = False
            self._consumer.resume([TopicPartition(*place)])
        deadline = time.monotonic() + (_MORE_SECONDS if tail.ended else _SILENCE_SECONDS)
        while len(tail.records) < limit and tail.size < _BATCH_BYTES_MAX:
            patience = 0.0 if tail.records else max(0.0, deadline - time.monotonic())
            heard = self._hear(tail, patience)
            if tail.error is not None and not tail.records:
                self._recover(place, tail)
                return
            if tail.ended or not (heard or patience):
                break
        if not tail.records and not tail.ended:
            self._silences += 1
            if self._silences >= _SILENCES_MAX:
                self._renew()
            silent = f"the brokers of {place[0]}/{place[1]} are silent"
            raise NotReady(silent, detail=self._trouble)

    def _hear(self, asked: _Tail, patience: float) -> bool:
        """Take what has come, of all partitions; whether there was anything."""
        message = self._consumer.poll(patience)
        if message is None:
            return False
        self._silences = 0
        for heard in (message, *self._consumer.consume(_AT_ONCE, 0)):
            place = (heard.topic() or "", heard.partition() or 0)
            tail = self._tails.get(place)
            if tail is not None:
                tail.hear(heard)
                if tail.size > _AHEAD_BYTES_MAX and not tail.paused and tail is not asked:
                    tail.paused = True
                    self._consumer.pause([TopicPartition(*place)])
        return True

    def _recover(self, place: Place, tail: _Tail) -> None:
        """The brokers refused the offset. What they deleted is told; a log that ends before what
        was read of it is not the same log any more.
        """
        error = tail.error
        low, high = self._ends(place)
        self._forget(place)
        if tail.fetched < low:
            self._begin(place, low, tail)
            tail.lost, tail.fetched, tail.error = Damage(tail.fetched, low, FORGOTTEN), low, None
            return
        if tail.heard and tail.fetched > high:
            raise NotReady(f"{place[0]}/{place[1]} ends at {high}, and was read to {tail.fetched}")
        if tail.fetched <= high:
            raise NotReady(f"reading {place[0]}/{place[1]}", detail=str(error))

    def _renew(self) -> None:
        """What was fetched and not yet read is fetched again."""
        self._silences = 0
        self._tails.clear()
        self._consumer.close()
        self._consumer = client(Consumer, self._properties)

    def _note_trouble(self, error: KafkaError) -> None:
        self._trouble = reason(error)


def _seal(record: Message) -> str:
    """Its place, and a digest of all that makes it what it is. Ours have a name in their headers
    that no other record has; of others the time tells those of equal contents apart.
    """
    headers: Any = record.headers() or ()
    digest = blake2b(digest_size=12)
    for part in (
        b"%d" % record.timestamp()[1], record.key(), record.value(),
        *(part for name, value in headers for part in (name.encode(), value)),
    ):  # fmt: skip
        digest.update(b"-" if part is None else b"%d:%b" % (len(part), part))
    return f"{record.offset()}:{digest.hexdigest()}"


def _said(message: Message) -> repeats.Said | None:
    headers: Any = message.headers()
    # Our own name is the first; what was made of other records has a second one.
    return None if headers is None or len(headers) < 2 else repeats.said(headers)


def _sealed(proof: str) -> tuple[str, Memory]:
    """What a proof tells of its record, and what it remembers."""
    place, _, rest = proof.partition(":")
    digest, _, known = rest.partition(":")
    return f"{place}:{digest}" if proof else "", Memory.of(known)


def _place(proof: str) -> int:
    return int(proof.partition(":")[0])
