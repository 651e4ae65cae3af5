"""What a fold says when it is stepped again, held against what the log has of it.

The log knows of each event where it is, and not whose it was. So of a topic that only this fold
says anything in, both have to be the same from first to last; of one that others write to as well,
all that is said has to be there in its order.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator
from typing import Any

import msgspec

from penstock.core.events import Codec, Undecodable
from penstock.core.log import Reader, record_place
from penstock.core.projection import Fold, Topic

_READ_AT_ONCE = 5_000
_SHOWN = 300


class _Heard:
    """One topic of the log, event by event."""

    def __init__(
        self, topic: Topic[Any], reader: Reader, codec: Codec[Any], *, alone: bool
    ) -> None:
        self.alone = alone
        self.read = codec.read
        self.difference = ""
        self._topic = topic.name
        self._reader = reader
        self._next = 0
        self._found: deque[tuple[int, Any]] = deque()

    def events(self) -> Iterator[tuple[int, Any]]:
        """Offsets, and projects with their events, of all that were not taken; each is taken."""
        while True:
            if not self._found:
                batch = self._reader.read(self._topic, 0, self._next, _READ_AT_ONCE)
                if batch.next == self._next:
                    return
                self._next = batch.next
                for offset, payload in zip(batch.offsets, batch.payloads, strict=True):
                    try:
                        self._found.append((offset, self.read(payload)))
                    except Undecodable:
                        continue
            while self._found:
                yield self._found.popleft()


class Outputs:
    def __init__(
        self,
        fold: Fold[Any, Any],
        reader: Reader,
        codec: Callable[[Topic[Any]], Codec[Any]],
        *,
        starts: Callable[[str], int],
        shared: Collection[str],
    ) -> None:
        """`starts` tells the first offset that a topic still has; `shared` names topics that others
        write to. What is not there from its beginning is not compared.
        """
        names = [topic.name for topic in fold.emits]
        whole = not starts(fold.topic.name)
        self._topics = {
            topic.name: _Heard(topic, reader, codec(topic), alone=topic.name not in shared)
            for topic in fold.emits
            if whole and not starts(topic.name)
        }
        self.not_compared = sorted(set(names) - set(self._topics))

    def see(self, topic: str, number: int, payload: bytes) -> None:
        """A record has it said."""
        heard = self._topics.get(topic)
        if heard is None or heard.difference:
            return
        said = heard.read(payload)
        for offset, found in heard.events():
            if found == said:
                return
            if heard.alone:
                heard.difference = (
                    f"{topic}/{offset} is {_shown(found)}, and rebuilt record "
                    f"{_place(number)} says {_shown(said)}"
                )
                return
        heard.difference = (
            f"{topic} lacks what rebuilt record {_place(number)} says: {_shown(said)}"
        )

    def differences(self) -> list[str]:
        """The first of each topic; to be asked when all was seen."""
        for topic, heard in self._topics.items():
            more = next(heard.events(), None) if heard.alone and not heard.difference else None
            if more is not None:
                heard.difference = (
                    f"{topic}/{more[0]} is {_shown(more[1])}, which nothing says rebuilt"
                )
        return [heard.difference for heard in self._topics.values() if heard.difference]


def _shown(event: tuple[str, Any]) -> str:
    return f"{type(event[1]).__name__} {msgspec.json.encode(event[1]).decode()[:_SHOWN]}"


def _place(number: int) -> str:
    partition, offset = record_place(number)
    return f"{partition}/{offset}"
