"""Near folds as an edge has them: told of what it is about to append, and of what was not stored.

Whoever decides by what is known must decide alone: two who look at once both find room. On the loop
one request is judged at a time, and what it says is known to the next. Bodies that are dear are
judged on a thread, one at a time too: as long as one of them is there, all others that ask are
judged there, behind it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from penstock.core.edge import Response
from penstock.core.errors import PenstockError

T = TypeVar("T")
Settle = Callable[[PenstockError | None], None]
Replay = Callable[[Response], None]


class Said(Protocol):
    """Events of one topic, as the log is to have them."""

    @property
    def topic(self) -> str: ...

    @property
    def payloads(self) -> Sequence[bytes]: ...


class Hearing(Protocol):
    """A near fold, as far as it is told. For any thread."""

    def take(self, payload: bytes) -> None:
        """It was said, and is not appended yet; never raises."""
        ...

    def drop(self, payload: bytes) -> None:
        """It was taken, and was not stored."""
        ...

    def keep(self, events: int) -> None:
        """So many that were taken are stored."""
        ...


class Nearby:
    """The near folds of one application."""

    def __init__(self, folds: Sequence[tuple[str, Hearing]]) -> None:
        """By the topic that each of them hears."""
        self._hearing: dict[str, list[Hearing]] = {}
        for topic, fold in folds:
            self._hearing.setdefault(topic, []).append(fold)
        self.away = 0
        """Bodies of those that ask which are on the thread. For the loop only."""

    def hearing(self, topic: str) -> Sequence[Hearing]:
        return self._hearing.get(topic, ())

    def take(self, parts: Sequence[Said]) -> None:
        for part in parts:
            for fold in self.hearing(part.topic):
                for payload in part.payloads:
                    fold.take(payload)

    def drop(self, parts: Sequence[Said]) -> None:
        for part in parts:
            for fold in self.hearing(part.topic):
                for payload in part.payloads:
                    fold.drop(payload)

    def keep(self, parts: Sequence[Said]) -> None:
        for part in parts:
            for fold in self.hearing(part.topic):
                fold.keep(len(part.payloads))

    def lend(self, done: Callable[[T], None]) -> Callable[[T], None]:
        """A body goes to the thread; it is back when what is returned is called."""
        self.away += 1
        return partial(self._back, done)

    def _back(self, done: Callable[[T], None], outcome: T) -> None:
        self.away -= 1
        done(outcome)

    def settling(
        self, parts: Sequence[Said], settle: Settle, replay: Replay
    ) -> tuple[Settle, Replay]:
        """The same, with what was not stored given up."""
        return partial(self._settle, parts, settle), partial(self._replay, parts, replay)

    def _settle(self, parts: Sequence[Said], settle: Settle, error: PenstockError | None) -> None:
        (self.drop if error else self.keep)(parts)
        settle(error)

    def _replay(self, parts: Sequence[Said], replay: Replay, response: Response) -> None:
        self.drop(parts)
        replay(response)
