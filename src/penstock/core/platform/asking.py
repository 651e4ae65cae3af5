"""What operations ask of folds: here, or of the state that is shared with who carries them."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import msgspec

from penstock.core.clock import Clock
from penstock.core.errors import Misconfigured, NotReady
from penstock.core.events import Event
from penstock.core.log import Follow, partition_of
from penstock.core.platform.pools import Pools
from penstock.core.position import is_of
from penstock.core.projection import Fold, parts, verdicts
from penstock.core.projects import DEFAULT_PROJECT, key_of, order_of
from penstock.core.state import State
from penstock.core.telemetry import Logger

S = TypeVar("S", bound=msgspec.Struct)

_POLL_SECONDS = 0.01
_AGAIN_SECONDS = 1.0
"""So long a state that could not be opened is not tried again."""


class Asked(Protocol):
    def of(self, project: str) -> "Asked":
        """The same for a request of this project."""
        ...

    async def heard(self, fold: Fold[Any, Any], event: Event, seconds: float) -> bool:
        """Wait until the fold has everything that the log has now where this event is. Raise
        `NotReady`.
        """
        ...

    async def get(self, fold: Fold[Any, S], key: bytes) -> S: ...

    def warn(self, event: str, **fields: object) -> None: ...


class AskedElsewhere:
    """Of an edge that carries nothing. It starts, and takes events, while the state is away."""

    def __init__(
        self,
        state: "Later",
        follow: Follow,
        pools: Pools,
        *,
        clock: Clock,
        logger: Logger,
        project: str = DEFAULT_PROJECT,
    ) -> None:
        self._project = project
        self._state = state
        self._follow = follow
        self._pools = pools
        self._clock = clock
        self._logger = logger

    def of(self, project: str) -> "AskedElsewhere":
        if project == self._project:
            return self
        shared = (self._state, self._follow, self._pools)
        return AskedElsewhere(*shared, clock=self._clock, logger=self._logger, project=project)

    async def heard(self, fold: Fold[Any, Any], event: Event, seconds: float) -> bool:
        topic, deadline = fold.topic.name, self._clock.monotonic() + seconds
        key = order_of(self._project, fold.topic.key(event))
        place = partition_of(key, self._follow.partitions(topic))
        end = self._follow.end(topic, place)
        while await self._pools.run(lambda: self._next(fold, place)) < end:
            if self._clock.monotonic() >= deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True

    async def get(self, fold: Fold[Any, S], key: bytes) -> S:
        partitions = self._follow.partitions(fold.topic.name)
        places = parts.places(fold, key_of(self._project, key), partitions)
        values = await self._pools.run(lambda: self._values(fold, places))
        return parts.together(fold, values, self._clock.now_ms())

    def warn(self, event: str, **fields: object) -> None:
        self._logger.warning(event, **fields)

    def _next(self, fold: Fold[Any, Any], partition: int) -> int:
        """How far the fold is. Raise `NotReady`, also where what it has is of another log."""
        state = self._state.get()
        position = state.position(fold.space, partition)
        if position is None:
            return 0
        if not is_of(position.log, self._follow.identity(fold.topic.name)):
            raise NotReady(f"{fold.space} is of another log")
        return position.next

    def _values(self, fold: Fold[Any, Any], places: Sequence[bytes]) -> list[bytes | None]:
        """Raise `NotReady`."""
        state = self._state.get()
        values = state.get_many(fold.space, places)
        if verdicts.told(state, fold.space):
            raise NotReady(f"{fold.space} is not of this log any more")
        return values


class Later:
    """The state, once it is there."""

    def __init__(self, open_state: Callable[[], State], clock: Clock) -> None:
        self._open = open_state
        self._clock = clock
        self._lock = threading.Lock()
        self._state: State | None = None
        self._again_at = float("-inf")

    def get(self) -> State:
        """Raise `NotReady`."""
        with self._lock:
            if self._state is None:
                if self._clock.monotonic() < self._again_at:
                    raise NotReady("the state is away")
                try:
                    self._state = self._open()
                except Misconfigured as error:
                    self._again_at = self._clock.monotonic() + _AGAIN_SECONDS
                    raise NotReady("opening the state", detail=error.message) from error
            return self._state

    def close(self) -> None:
        if self._state is not None:
            with suppress(NotReady):
                self._state.close()
