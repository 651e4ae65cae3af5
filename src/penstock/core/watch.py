"""The watch: whether each view holds what its positions claim, and all that the log held.

An answer is right, or it is a 503 that says what is being made again and how far it is. So a view
answers once it has what the log held when this process started, and once more what it held before
it fell back; and no longer when its store has lost what no replay of the log brings back.

A lag belongs to each partition, whether somebody carries it or not: a partition that nobody of this
process carries is followed by its position in the store.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from penstock.core.clock import Clock
from penstock.core.errors import Damaged, Disproved, NotReady
from penstock.core.log import Follow
from penstock.core.poller import Poller
from penstock.core.projection import Fold, Table
from penstock.core.projection.runner import Consumer
from penstock.core.telemetry import Logger, Samples
from penstock.core.warehouse import Warehouse

_EVERY_SECONDS = 1.0
_FIRST_SECONDS = 2.0
"""So long a start waits for the first look; a large warehouse takes longer to be read."""
_SETTLE_SECONDS = 0.005
_LOOKS_PER_TABLE = 5
_UNMOVED_SECONDS = 10.0
_LOOK_SECONDS_MAX = 10.0


@dataclass
class Place:
    """A partition of a view, as it was when it was looked at last."""

    partition: int
    target: int
    """The view answers when it has come so far."""
    position: int = 0
    end: int | None = None
    even_at: float = 0.0
    """When it had everything, or when it was looked at first."""
    moved_at: float = 0.0

    @property
    def lag(self) -> int:
        return max(0, (self.end or 0) - self.position)

    def seen(self, position: int, end: int, now: float) -> None:
        if position < self.position:  # it held as much, and is to hold it again
            self.target = max(self.target, self.position)
        if position >= end:
            self.even_at = now
        if position != self.position or position >= end:
            self.moved_at = now
        self.position, self.end = position, end
        if position >= self.target:
            self.target = 0


class Watch:
    def __init__(
        self,
        consumers: Mapping[str, Consumer],
        follow: Follow,
        warehouse: Warehouse | None,
        *,
        clock: Clock,
        logger: Logger,
    ) -> None:
        self.poller: Poller[None] = Poller(
            "watch",
            self._look,
            every_seconds=_EVERY_SECONDS,
            first_seconds=_FIRST_SECONDS,
            clock=clock,
        )
        self._consumers = consumers
        self._follow = follow
        self._warehouse = warehouse
        self._clock = clock
        self._logger = logger
        self._places: dict[str, dict[int, Place]] = {name: {} for name in consumers}
        self._unread = {name for name, c in consumers.items() if isinstance(c.projection, Table)}
        """Tables that have not been read since the start."""
        self._failing: set[str] = set()
        self._hanging: dict[str, str] = {}
        """Steps that do not end, by fold; replaced whole."""
        self._mirrors = {
            table: name
            for name, consumer in consumers.items()
            if isinstance(consumer.projection, Fold)
            for table in consumer.projection.tables
        }
        self._spoilt: dict[str, str] = {}
        """What mirrors lack; replaced whole."""
        self._looks = 0
        self._in_hand: tuple[str, float] | None = None
        """The view that is looked at, and since when."""

    def begin(self) -> None:
        """Before any consumer starts: what the log holds now, every view is to have."""
        now = self._clock.monotonic()
        for name, consumer in self._consumers.items():
            for partition, end in self._ends(consumer).items():
                self._places[name][partition] = Place(partition, end, even_at=now, moved_at=now)
            consumer.hear()

    def settle(self) -> None:
        """Wait for a moment, so that who asks first is answered where little is left to be done."""
        for _ in range(round(_FIRST_SECONDS / _SETTLE_SECONDS)):
            if not self._unread and not any(
                self._missing(name) and consumer.state in ("running", "joining")
                for name, consumer in self._consumers.items()
            ):
                return
            time.sleep(_SETTLE_SECONDS)

    # -- being asked, by any thread -------------------------------------------------------------

    def vouch(self, name: str) -> None:
        """Raise `NotReady` when an answer from this view, or mirror, would not be right."""
        if (fold := self._mirrors.get(name)) is not None:
            self._vouch_mirror(name, fold)
            name = fold
        self.vouch_sound(name)
        if name in self._unread:
            raise NotReady(f"{name} is being read, as after each start", retry_after=1)
        if missing := self._missing(name):
            raise NotReady(missing, retry_after=1)

    def mirror_problem(self, table: str) -> str:
        """Why a mirror does not answer; empty when all is well."""
        try:
            self._vouch_mirror(table, self._mirrors[table])
        except NotReady as error:
            return error.message
        return ""

    @property
    def mirrors(self) -> Iterable[str]:
        """Their tables."""
        return self._mirrors

    def _vouch_mirror(self, table: str, fold: str) -> None:
        """What it has not yet it may lag behind with; what it had it has to have."""
        if table not in self._spoilt:
            raise NotReady(f"{table} is being read, as after each start", retry_after=1)
        if lacks := self._spoilt[table]:
            raise Damaged(fold, f"{table}: {lacks}")
        filling = self._consumers[fold].filling
        if filling is not None and (lacks := filling.lacks()):
            raise NotReady(lacks, retry_after=1)

    def vouch_sound(self, name: str) -> None:
        """Raise `Damaged` or `Disproved`: waiting will not help."""
        consumer = self._consumers[name]
        if (damaged := consumer.damaged) is not None:
            raise Damaged(name, damaged.lacks)
        if (disproved := consumer.disproved) is not None:
            raise Disproved(disproved.message)

    def problem(self, name: str) -> str:
        """Why a view does not answer, or is not carried on; empty when all is well."""
        if hangs := self._hanging.get(name):
            return hangs
        try:
            self.vouch(name)
        except NotReady as error:
            return error.message
        now = self._clock.monotonic()
        for place in self.elsewhere(name):
            seconds = now - place.moved_at
            if place.lag and seconds > _UNMOVED_SECONDS:
                return (
                    f"partition {place.partition} is {place.lag} records behind and has not moved "
                    f"for {seconds:.0f} seconds; see who carries it"
                )
        return ""

    def hanging(self) -> str:
        """Which look does not end; then nothing is known of any view."""
        if self._in_hand is None:
            return ""
        name, since = self._in_hand
        seconds = self._clock.monotonic() - since
        return (
            f"{name} gives no answer for {seconds:.1f} seconds"
            if seconds > _LOOK_SECONDS_MAX
            else ""
        )

    def elsewhere(self, name: str) -> list[Place]:
        """Partitions that this process does not carry."""
        own = self._consumers[name].cursors
        return [place for p, place in sorted(self._places[name].items()) if p not in own]

    def lag_seconds(self, place: Place) -> float:
        """Age of the oldest record that is not in, from above."""
        return self._clock.monotonic() - place.even_at if place.lag else 0.0

    def sample(self, samples: Samples) -> None:
        for name in self._consumers:
            for place in self.elsewhere(name):
                of = {"projection": name, "partition": str(place.partition)}
                samples.gauge("penstock_projection_lag_records", place.lag, **of)
                samples.gauge("penstock_projection_lag_seconds", self.lag_seconds(place), **of)
        for name in self._consumers:
            samples.gauge("penstock_view_answers", not self.problem(name), projection=name)

    def _missing(self, name: str) -> str:
        """What is being made again, and how far it is."""
        consumer, at, wanted = self._consumers[name], 0, 0
        for partition, target in self._targets(name, consumer):
            cursor = consumer.cursors.get(partition)
            position = self._places[name][partition].position if cursor is None else cursor.held
            if position < target:
                at, wanted = at + position, wanted + target
        if not wanted:
            return ""
        why = f"; {consumer.last_error}" if consumer.last_error else ""
        return f"{name} is being made again: {at} of {wanted} records are in{why}"

    def _targets(self, name: str, consumer: Consumer) -> Iterator[tuple[int, int]]:
        for partition, place in self._places[name].items():
            cursor = consumer.cursors.get(partition)
            target = place.target if cursor is None else max(place.target, cursor.again)
            if target:
                yield partition, target

    # -- looking --------------------------------------------------------------------------------

    def _look(self) -> None:
        for name, consumer in self._consumers.items():
            self._in_hand = name, self._clock.monotonic()
            self._look_at_steps(name, consumer)
            try:
                of_table = isinstance(consumer.projection, Table)
                if not of_table or name in self._unread or self._looks % _LOOKS_PER_TABLE == 0:
                    self._prove(name, consumer)
                self._follow_positions(name, consumer)
                if self._looks % _LOOKS_PER_TABLE == 0:
                    self._look_at_mirrors(consumer)
            except NotReady:
                continue  # who is away is told by readiness, and by all who ask
            except Exception as error:  # noqa: BLE001 - the store's own kind, whatever it is
                if name not in self._failing:
                    said = f"{type(error).__name__}: {error}"
                    self._logger.warning("watch.failed", projection=name, error=said)
                self._failing.add(name)
            else:
                self._failing.discard(name)
        self._in_hand = None
        self._looks += 1

    def _look_at_steps(self, name: str, consumer: Consumer) -> None:
        hangs = consumer.hangs()
        if hangs and not self._hanging.get(name):
            self._logger.error("fold.step_does_not_end", projection=name, error=hangs)
        self._hanging = {**self._hanging, name: hangs}

    def _prove(self, name: str, consumer: Consumer) -> None:
        lacks = consumer.sink.lacks(deep=name in self._unread)
        self._unread.discard(name)
        if consumer.judge(lacks):
            self._logger.error("view.damaged", projection=name, error=str(consumer.damaged))
            if self._warehouse is not None and isinstance(consumer.projection, Table):
                self._warehouse.rest(consumer.projection.table)

    def _look_at_mirrors(self, consumer: Consumer) -> None:
        if self._warehouse is not None and isinstance(consumer.projection, Fold):
            for table in consumer.projection.tables:
                lacks = self._warehouse.damage(table, deep=self._looks == 0)
                self._spoilt = {**self._spoilt, table: lacks}

    def _follow_positions(self, name: str, consumer: Consumer) -> None:
        consumer.hear()
        consumer.compare()
        now = self._clock.monotonic()
        for partition, end in self._ends(consumer).items():
            cursor = consumer.cursors.get(partition)
            position = self._elsewhere(consumer, partition) if cursor is None else cursor.held
            place = self._places[name].get(partition)
            if place is None:
                place = Place(partition, end, even_at=now, moved_at=now)
                self._places[name] = {**self._places[name], partition: place}
            place.seen(position, end, now)

    def _elsewhere(self, consumer: Consumer, partition: int) -> int:
        """Of one whom others carry: what the log keeps no longer nobody waits for."""
        start = self._follow.start(consumer.projection.topic.name, partition)
        return max(consumer.sink.position(partition), start)

    def _ends(self, consumer: Consumer) -> dict[int, int]:
        """Nothing while the log is away: then it has nothing new either."""
        topic = consumer.projection.topic.name
        try:
            partitions = range(self._follow.partitions(topic))
            return {partition: self._follow.end(topic, partition) for partition in partitions}
        except NotReady:
            return {}
