"""What a fold says when it is stepped again, held against what the log has of it.

On brokers each event has beside it what it was made from, and what is this fold's has to be the
same from first to last. The embedded log knows where an event is, and not whose it was: so of a
topic that only this fold says anything in, all has to be the same; of one that others write to as
well, all that is said has to be there in its order.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from heapq import merge
from typing import Any

import msgspec

from penstock.core.events import Codec, Undecodable
from penstock.core.log import Reader, record_place
from penstock.core.projection import Fold, Topic

_READ_AT_ONCE = 5_000
_SHOWN = 300


_Found = Iterator[tuple[str, Any]]
"""Where each event is, and its project with it."""


class _Heard:
    """What the log has of one topic, as far as it is this fold's, in the order of its making."""

    def __init__(self, topic: str, events: _Found, codec: Codec[Any], *, alone: bool) -> None:
        """`alone`: nothing of it is anybody else's."""
        self.alone = alone
        self.events = events
        self.read = codec.read
        self.difference = ""
        self._topic = topic

    def see(self, number: int, payload: bytes) -> None:
        if self.difference:
            return
        said = self.read(payload)
        for place, found in self.events:
            if found == said:
                return
            if self.alone:
                self.difference = (
                    f"{self._topic}/{place} is {_shown(found)}, and rebuilt record "
                    f"{_place(number)} says {_shown(said)}"
                )
                return
        self.difference = (
            f"{self._topic} lacks what rebuilt record {_place(number)} says: {_shown(said)}"
        )

    def end(self) -> None:
        more = next(self.events, None) if self.alone and not self.difference else None
        if more is not None:
            self.difference = (
                f"{self._topic}/{more[0]} is {_shown(more[1])}, which nothing says rebuilt"
            )


def _records(reader: Reader, topic: str, partition: int) -> Iterator[tuple[int, bytes, Any]]:
    """Offsets, payloads, and of what they were made, of a whole partition."""
    at, proof = 0, ""
    while (batch := reader.read(topic, partition, at, _READ_AT_ONCE, proof)).next > at:
        at, proof = batch.next, batch.proof
        origins = batch.origins or (None,) * len(batch.payloads)
        yield from zip(batch.offsets, batch.payloads, origins, strict=True)


def _in_order(reader: Reader, topic: str, codec: Codec[Any]) -> _Found:
    """Of a log that has one partition, and does not tell what records were made from."""
    for offset, payload, _ in _records(reader, topic, 0):
        with suppress(Undecodable):
            yield str(offset), codec.read(payload)


def _of_source(
    reader: Reader, topic: str, partitions: int, codec: Codec[Any], source: tuple[str, int]
) -> _Found:
    """What one partition of a source has said, wherever it is."""

    def of(at: int) -> Iterator[tuple[tuple[int, int], str, bytes]]:
        for offset, payload, made in _records(reader, topic, at):
            if made is not None and made[:2] == source:
                yield made[2:], f"{at}/{offset}", payload

    for _, place, payload in merge(*map(of, range(partitions))):
        with suppress(Undecodable):
            yield place, codec.read(payload)


class Outputs:
    def __init__(
        self,
        fold: Fold[Any, Any],
        open_reader: Callable[[], Reader],
        codec: Callable[[Topic[Any]], Codec[Any]],
        *,
        starts: Callable[[str], int],
        shared: Collection[str],
        partitions: Callable[[str], int] | None = None,
    ) -> None:
        """`starts` tells the first offset that a topic still has; `shared` names topics that others
        write to. What is not there from its beginning is not compared. `partitions` is of a log
        that tells what records were made from, where all is compared by that.
        """
        topics = {topic.name: topic for topic in fold.emits}
        whole = not starts(fold.topic.name)
        self._compared = {
            name: topic for name, topic in topics.items() if whole and not starts(name)
        }
        self.not_compared = sorted(set(topics) - set(self._compared))
        self._space, self._shared = fold.space, shared
        self._open_reader, self._codec, self._partitions = open_reader, codec, partitions
        self._heard: dict[tuple[str, int], _Heard] = {}
        """By topic, and by the partition that it was made of."""
        sources = 1 if partitions is None else partitions(fold.topic.name)
        self._places = [(name, source) for name in self._compared for source in range(sources)]
        self._readers: list[Reader] = []

    def see(self, topic: str, number: int, payload: bytes) -> None:
        """A record has it said."""
        if topic in self._compared:
            source = 0 if self._partitions is None else record_place(number)[0]
            self._of(topic, source).see(number, payload)

    def differences(self) -> list[str]:
        """The first of each topic and partition; to be asked when all was seen."""
        found = [self._of(*place) for place in self._places]
        for heard in found:
            heard.end()
        return [heard.difference for heard in found if heard.difference]

    def close(self) -> None:
        for reader in self._readers:
            reader.close()

    def _of(self, topic: str, source: int) -> _Heard:
        heard = self._heard.get((topic, source))
        if heard is None:
            codec = self._codec(self._compared[topic])
            if self._partitions is None:
                events = _in_order(self._opened(), topic, codec)
                alone = topic not in self._shared
            else:
                count, of = self._partitions(topic), (self._space, source)
                events = _of_source(self._opened(), topic, count, codec, of)
                alone = True
            heard = self._heard[topic, source] = _Heard(topic, events, codec, alone=alone)
        return heard

    def _opened(self) -> Reader:
        self._readers.append(self._open_reader())
        return self._readers[-1]


def _shown(event: tuple[str, Any]) -> str:
    return f"{type(event[1]).__name__} {msgspec.json.encode(event[1]).decode()[:_SHOWN]}"


def _place(number: int) -> str:
    partition, offset = record_place(number)
    return f"{partition}/{offset}"
