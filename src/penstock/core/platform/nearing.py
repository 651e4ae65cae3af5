"""Near folds of a process with an edge: the state that it carries itself, or a copy of its own.

Where the process carries a fold alone, near is what the fold has. Elsewhere, where others carry it
or some of its partitions, or the state is on a server, the edge keeps a copy in its own folder.
That hears all partitions of the topic and says nothing: what a fold says is in the log, and what it
hears of that is, too. So whatever else is away, the edge knows what the log knows.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from penstock.core import engines
from penstock.core.clock import Clock
from penstock.core.edge.nearby import Nearby
from penstock.core.errors import Disproved, NotReady
from penstock.core.ingesting import Nears
from penstock.core.log import Log
from penstock.core.manifest import Manifest
from penstock.core.platform.consumers import Consumers
from penstock.core.platform.opening import Opened
from penstock.core.poller import Poller
from penstock.core.projection import Fold
from penstock.core.projection.dead_letters import DeadLetters
from penstock.core.projection.folding import FoldSink
from penstock.core.projection.near import Near
from penstock.core.projection.reading import readings
from penstock.core.projection.runner import Consumer
from penstock.core.projection.stores import Stores
from penstock.core.settings import Settings
from penstock.core.telemetry import Logger, Samples
from penstock.core.watch import Watch

_LAGS_SECONDS = 5.0
"""What is further behind is told as a warning."""


class Nearing:
    def __init__(
        self,
        settings: Settings,
        manifests: Sequence[Manifest],
        opened: Opened,
        consumers: Consumers,
        watch: Watch,
        *,
        clock: Clock,
        logger: Logger,
    ) -> None:
        """Raise `Misconfigured` when a copy cannot be opened."""
        self._logger = logger
        self._clock = clock
        self._log = opened.log
        self._codec = partial(engines.codec_of, settings)
        self._consumers: dict[str, Consumer] = {}
        self._nears: dict[str, Near[Any, Any]] = {}
        self._copies: dict[str, Consumer] = {}
        self._watches: dict[str, Watch] = {}
        """Who says whether what is known of a fold is right."""
        self._watch: Watch | None = None
        """Of the copies."""
        wanted = [
            fold
            for manifest in manifests
            for fold in manifest.projections
            if isinstance(fold, Fold) and fold.near and self._log is not None
        ]
        alone = all(map(engines.is_embedded, (settings.log_url, settings.state_url)))
        carried = {consumer.projection.name for consumer in consumers.carried if alone}
        for fold in wanted:
            if fold.name in carried:
                stores = opened.require_stores()
                self._know(fold, consumers[fold.name], stores, watch)
        with ExitStack() as opening:
            if apart := [fold for fold in wanted if fold.name not in carried]:
                self._keep_copies(settings, apart, opening)
            self._closing = opening.pop_all()
        self.nears = {m.name: self._of(m) for m in manifests if {*m.projections} & {*wanted}}
        """By application, of those that have any."""

    def _know(self, fold: Fold[Any, Any], consumer: Consumer, stores: Stores, watch: Watch) -> None:
        sink, log = consumer.sink, self._log
        assert isinstance(sink, FoldSink)
        assert log is not None
        near = Near(
            fold,
            stores.state,
            self._codec,
            self._clock,
            reader=log.reader,
            vouch=partial(watch.vouch, fold.name),
            ends=partial(_ends, log, fold.topic.name),
            repeats=sink.repeats,
        )
        sink.near = self._nears[fold.name] = near
        self._consumers[fold.name], self._watches[fold.name] = consumer, watch

    def _keep_copies(
        self, settings: Settings, folds: Sequence[Fold[Any, Any]], opening: ExitStack
    ) -> None:
        log = self._log
        assert log is not None
        folds = [replace(fold, mirror=None) for fold in folds]  # told by whoever has the state
        state = engines.open_near(settings)
        opening.callback(state.close)
        self._drop, self.bytes_on_disk = state.drop, state.bytes_on_disk
        stores = Stores(None, state, DeadLetters(state), self._clock, self._codec)
        read = readings(log, folds, self._codec)
        for fold in folds:
            sink = FoldSink(fold, stores)
            sink.muted = True
            consumer = self._copies[fold.name] = Consumer(
                fold,
                sink,
                log,
                self._clock,
                self._logger,
                reading=read[fold.topic.name],
                whole=True,
            )
            if (why := _disproved(consumer, log)) is not None:
                self._logger.warning("near.made_again", projection=fold.name, why=why.message)
                self._drop(fold.space)
        self._watch = Watch(self._copies, log, None, clock=self._clock, logger=self._logger)
        for fold in folds:
            self._know(fold, self._copies[fold.name], stores, self._watch)

    def _of(self, manifest: Manifest) -> Nears:
        nears = [self._nears[p.name] for p in manifest.projections if p.name in self._nears]
        return Nears(
            Nearby([(near.fold.topic.name, near) for near in nears]),
            frozenset(near.fold.topic.name for near in nears),
            {near.fold.space: near.get for near in nears},
        )

    # -- running --------------------------------------------------------------------------------

    @property
    def pollers(self) -> list[Poller[Any]]:
        return [] if self._watch is None else [self._watch.poller]

    def start(self) -> None:
        if self._watch is not None:
            self._watch.begin()
        for consumer in self._copies.values():
            consumer.start()
        for consumer in self._copies.values():
            consumer.looked()
        if self._watch is not None:
            self._watch.settle()

    def stop(self) -> None:
        """Each copy finishes its batch."""
        for consumer in self._copies.values():
            consumer.stop()

    def forget(self) -> None:
        """What the copies know; they do not run."""
        for consumer in self._copies.values():
            self._drop(consumer.projection.name)

    def close(self) -> None:
        self._closing.close()

    # -- being asked ----------------------------------------------------------------------------

    @property
    def copies(self) -> Sequence[Consumer]:
        """Of the folds that this process does not carry."""
        return [*self._copies.values()]

    @property
    def names(self) -> Sequence[str]:
        """Of the folds that may be asked here."""
        return [*self._nears]

    def problem(self, name: str) -> str:
        """Why such a fold cannot be asked; nothing where it can."""
        return self._watches[name].problem(name)

    def warnings(self) -> Iterator[tuple[str, str]]:
        """What is far behind, though it may be asked."""
        for name, consumer in self._consumers.items():
            lag, seconds = _lag(consumer)
            if seconds > _LAGS_SECONDS:
                why = f": {consumer.last_error}" if consumer.last_error else ""
                told = f"what the edge knows is {lag} records and {seconds:.0f} s behind{why}"
                yield f"near {name}", told

    def sample(self, samples: Samples) -> None:
        for name, near in self._nears.items():
            samples.gauge("penstock_near_waiting_events", near.waiting, projection=name)
            _, seconds = _lag(self._consumers[name])
            samples.gauge("penstock_near_lag_seconds", seconds, projection=name)


def _lag(consumer: Consumer) -> tuple[int, float]:
    """In records and seconds."""
    records, seconds = 0, 0.0
    for cursor in consumer.cursors.values():
        with suppress(NotReady):  # the log is away, and has nothing new either
            status = cursor.status()
            records, seconds = records + status.lag_records, max(seconds, status.lag_seconds)
    return records, seconds


def _ends(log: Log, topic: str) -> Sequence[int] | None:
    """None while what is durable is not where it is read from."""
    if log.spooled:
        return None
    try:
        return [log.end(topic, partition) for partition in range(log.partitions(topic))]
    except NotReady:
        return None


def _disproved(consumer: Consumer, log: Log) -> Disproved | None:
    """Why what is there is of no use: it is of another log, or of another version of the fold."""
    try:
        with closing(log.reader()) as reader:
            for cursor in consumer.whole():
                cursor.proved(reader)
    except Disproved as error:
        return error
    except NotReady:  # the brokers are away: it is looked at when they are back
        return None
    return None
