"""What an operator does to a platform, whether it is serving or not."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import msgspec

from penstock.core import engines
from penstock.core.errors import (
    Damaged,
    Disproved,
    NotFound,
    NotReady,
    PenstockError,
    Rejected,
)
from penstock.core.events import Undecodable
from penstock.core.listed import Deletable, JobLine, Letter, TopicLine, View
from penstock.core.log import Batch, Reader
from penstock.core.log.sqlite_reader import SqliteReader
from penstock.core.platform import Platform
from penstock.core.projection import Fold, Table
from penstock.core.projection.cursor import Cursor
from penstock.core.projection.dead_jobs import DeadJob, DeadJobs
from penstock.core.projection.dead_letters import GIVEN_UP, DeadLetter, given_up
from penstock.core.projection.decoding import raised
from penstock.core.projection.deleting import Whose, deletable, delete
from penstock.core.projection.disk_space import DiskSpace
from penstock.core.projection.folding import FoldSink
from penstock.core.projection.rebuild import Progress, Rebuild
from penstock.core.projection.refilling import Refill, mirrored_in
from penstock.core.projection.runner import Consumer
from penstock.core.projection.shadows import Rebuilt
from penstock.core.projection.sinks import sink
from penstock.core.projection.why import Asked, Why, why
from penstock.core.projects import own_key
from penstock.core.schedules import Line, Ran
from penstock.core.schedules.asking import Asking
from penstock.core.warehouse import sql
from penstock.core.warehouse.cluster import Layout

_RECORD_SHOWN = 4_096
_POLL_SECONDS = 0.1
_UNTAKEN_SECONDS = 30.0
"""A leader that ended without a word is missed after half of it."""


class Operations:
    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._stores = platform.require_stores()
        self._dead_jobs = DeadJobs(self._stores.state)
        self._asking = Asking(platform.manifests, self._stores.state, platform.clock)

    def topics(self) -> list[TopicLine]:
        platform = self._platform
        topics = [topic.name for manifest in platform.manifests for topic in manifest.topics]
        otherwise = engines.kept_otherwise(platform.settings, platform.kept)
        with closing(platform.follow.reader()) as reader:
            return [
                self._topic(reader, topic, partition, otherwise.get(topic, ""))
                for topic in topics
                for partition in range(platform.follow.partitions(topic))
            ]

    def _topic(self, reader: Reader, topic: str, partition: int, otherwise: str) -> TopicLine:
        platform, follow = self._platform, self._platform.follow
        extent, end = follow.extent(topic, partition), follow.end(topic, partition)
        oldest = reader.read(topic, partition, extent.start, 1) if extent.start < end else None
        waits = {} if platform.forgetting is None else platform.forgetting.waits
        return TopicLine(
            topic,
            partition,
            extent.start,
            end,
            {
                consumer.projection.name: platform.positions.position(consumer, partition)
                for consumer in platform.consumers.values()
                if consumer.projection.topic.name == topic
            },
            f"{platform.kept[topic]}" + f", by the brokers {otherwise}" * bool(otherwise),
            waits.get(topic, []),
            0 if oldest is None else oldest.appended_at_ms,
            reader.bytes_of(topic) if isinstance(reader, SqliteReader) else None,
        )

    def views(self) -> list[View]:
        """Each compared with the log, whoever carries it."""
        platform, found = self._platform, []
        with closing(platform.follow.reader()) as reader:
            for name, consumer in platform.consumers.items():
                projection, wrong = consumer.projection, ""
                try:
                    for partition in range(platform.follow.partitions(projection.topic.name)):
                        Cursor(
                            projection,
                            sink(projection, self._stores),
                            platform.follow,
                            platform.clock,
                            platform.logger,
                            partition=partition,
                        ).proved(reader)
                except (Damaged, Disproved) as error:
                    wrong = error.message
                found.append(View(name, wrong))
        return found

    def dead_letters(self, projection: str = "", limit: int = 100) -> list[Letter]:
        if projection:
            self._consumer(projection)
        return [
            self._readable(letter)
            for letter in self._stores.dead_letters.letters(projection, limit)
        ]

    def show_dead_letter(self, projection: str, partition: int, offset: int) -> Letter:
        return self._readable(self._stores.dead_letters.letter(projection, partition, offset))

    def retry_dead_letter(self, projection: str, partition: int, offset: int) -> Letter:
        """Project it again; it leaves the dead letters if that succeeds. Raise what prevents it."""
        consumer = self._consumer(projection)
        letter = self._stores.dead_letters.letter(projection, partition, offset)
        if not letter.payload:
            raise Rejected(f"{letter.reason}; there is nothing left to retry")
        if letter.code == GIVEN_UP:
            raise Rejected(letter.reason)
        with consumer.paused():
            try:
                consumer.sink.retry(self._platform.follow.identity(letter.topic), letter)
            except PenstockError:
                raise
            except Exception as error:
                raise Rejected(f"projecting it again: {raised(error)}") from error
        self._stores.dead_letters.remove(letter)
        return self._readable(letter)

    def drop_dead_letter(self, projection: str, partition: int, offset: int) -> Letter:
        """Forget that it was put aside. The log still has the record."""
        letter = self._stores.dead_letters.letter(projection, partition, offset)
        if letter.code == GIVEN_UP:
            raise Rejected(letter.reason)
        self._stores.dead_letters.remove(letter)
        return self._readable(letter)

    def jobs(self, of: str = "", limit: int = 100) -> list[JobLine]:
        """Those that were given up, of a job or a fold, or of all."""
        return [_job_line(dead) for dead in islice(self._dead_jobs.all(of), limit)]

    def show_job(self, number: str) -> JobLine:
        return _job_line(self._dead_jobs.one(number))

    def retry_job(self, number: str) -> JobLine:
        """Let it be tried again, as often as at first; it leaves the dead letters at once."""
        dead = self._dead_jobs.one(number)
        consumer = self._consumer(dead.projection)
        sink, fold = consumer.sink, consumer.projection
        if not isinstance(sink, FoldSink) or dead.job not in {job.name for job in sink.fold.jobs}:
            raise Rejected(f"{dead.projection} has no job {dead.job} any more")
        with consumer.paused():
            identity = self._platform.follow.identity(fold.topic.name)
            sink.retry_job(identity, dead, self._platform.clock.now_ms())
        return _job_line(dead)

    def drop_job(self, number: str) -> JobLine:
        """Forget it. The log has what wanted it, and that it was given up."""
        dead = self._dead_jobs.one(number)
        self._dead_jobs.remove(dead)
        return _job_line(dead)

    def give_up(self, projection: str, partition: int, offsets: Sequence[int]) -> list[Letter]:
        """Leave records out of this projection from its next rebuild on, until they are taken back.

        Raise `NotFound`, with nothing done, where one of them is not there.
        """
        topic = self._consumer(projection).projection.topic.name
        with closing(self._platform.follow.reader()) as reader:
            batches = [self._record(reader, topic, partition, offset) for offset in offsets]
        now_ms, dead_letters = self._platform.clock.now_ms(), self._stores.dead_letters
        letters = [given_up(projection, topic, partition, batch, now_ms) for batch in batches]
        for letter in letters:
            dead_letters.give_up(projection, partition, letter.offset)
            dead_letters.add(letter)
        return [self._readable(letter) for letter in letters]

    def _record(self, reader: Reader, topic: str, partition: int, offset: int) -> Batch:
        """Raise `NotFound`."""
        if partition in range(self._platform.follow.partitions(topic)) and offset >= 0:
            batch = reader.read(topic, partition, offset, 1)
            if batch.payloads and batch.offsets[0] == offset:
                return batch
        raise NotFound(f"{topic} has no record {partition}/{offset} that can be read")

    def take_back(self, projection: str, partition: int, offsets: Sequence[int]) -> list[Letter]:
        """The next rebuild takes them in again; a retry would be in twice, should its block be sent
        again. Raise `NotFound` and `Rejected`, with nothing done, where one was not given up.
        """
        dead_letters = self._stores.dead_letters
        letters = [dead_letters.letter(projection, partition, offset) for offset in offsets]
        for letter in letters:
            if letter.code != GIVEN_UP:
                raise Rejected(
                    f"{partition}/{letter.offset} was not given up; see why with "
                    "`penstock dead-letters show`"
                )
        for letter in letters:
            dead_letters.take_back(projection, partition, letter.offset)
            dead_letters.remove(letter)
        return [self._readable(letter) for letter in letters]

    def rebuild(
        self,
        projection: str,
        progress: Progress,
        *,
        from_scratch: bool,
        dry_run: bool,
        accept_loss: bool = False,
        muted: bool = False,
    ) -> Rebuilt:
        if (mirrored := mirrored_in(self._platform.consumers.values(), projection)) is not None:
            return self._refill(mirrored, compare=not from_scratch, swap=not dry_run)
        consumer = self._consumer(projection)
        platform, stores = self._platform, self._stores
        table = isinstance(consumer.projection, Table)
        work = Rebuild(
            consumer,
            stores,
            platform.follow,
            platform.clock,
            platform.logger,
            turn=platform.consumers.turn(consumer),
            disk_space=DiskSpace(
                stores.tables.folder if table else stores.state.folder,
                platform.settings.disk_free_bytes_min,
            ),
            leaving=platform.leaving.is_set,
            shared=self._shared(),
        )
        return work.run(
            self._statement(consumer),
            progress,
            compare=not from_scratch,
            swap=not dry_run,
            accept_loss=accept_loss,
            muted=muted,
        )

    def _refill(self, consumer: Consumer, *, compare: bool, swap: bool) -> Rebuilt:
        platform, turn = self._platform, self._platform.consumers.turn(consumer)
        work = Refill(consumer, self._stores, platform.follow, turn)
        with closing(platform.follow.reader()) as reader:
            return work.run(self._statement(consumer), reader, compare=compare, swap=swap)

    def _shared(self) -> set[str]:
        """Topics that not a single fold alone says something in: a fold's timers and jobs do so in
        the topic that it hears.
        """
        manifests = self._platform.manifests
        folds = [p for m in manifests for p in m.projections if isinstance(p, Fold)]
        said = Counter(topic.name for fold in folds for topic in fold.emits)
        said.update(fold.topic.name for fold in folds if fold.times or fold.jobs)
        offers = [offer.emits for manifest in manifests for offer in manifest.ingest]
        offers += [offer.emits for manifest in manifests for offer in manifest.routes]
        offers += [schedule.emits for manifest in manifests for schedule in manifest.schedules]
        asked = {topic.name for emits in offers for topic in emits}
        return asked | {topic for topic, count in said.items() if count > 1}

    def why(self, asked: Asked, progress: Progress) -> Why:
        """What is known of a key, and the newest records that made it."""
        projection = self._consumer(asked.projection).projection
        return why(projection, asked, self._stores, self._platform.follow, progress)

    def deletable(self, whose: Whose) -> list[Deletable]:
        """What each table has of a project, or of one subject of it."""
        return deletable(self._platform.consumers.values(), self._stores.tables, whose)

    def delete(self, whose: Whose, progress: Progress) -> list[Deletable]:
        """Delete what can go, and wait for it; how many rows those were."""
        platform, deleted = self._platform, list[Deletable]()
        found = [one for one in self.deletable(whose) if one.rows]
        for done, one in enumerate(found):
            progress(done, len(found))
            live = platform.consumers[one.table]
            turn = platform.consumers.turn(live)
            rows = delete(live, platform.follow, self._stores.tables, whose, turn)
            platform.logger.info("rows.deleted", table=one.table, rows=rows)
            deleted.append(Deletable(one.table, rows, ""))
        return deleted

    def schedules(self, name: str = "", runs: int = 1) -> list[Line]:
        """Raise `NotFound` for one that there is not."""
        return self._asking.lines(name, runs)

    def run_schedule(self, name: str, at: str, progress: Progress) -> Ran:
        """Run the interval of a time, or the newest that is over, and wait for it.

        The process that leads does it; where nobody serves, this one does, and its views first
        catch up with the log. Raise `NotReady` when nobody takes it in hand.
        """
        platform = self._platform
        wish = self._asking.wish(name, at)
        scheduler = platform.scheduler
        if "work" in platform.roles and not scheduler.running:
            scheduler.by_hand_only = True
            platform.start()
        begun = platform.clock.monotonic()
        while (ran := self._asking.result(wish)) is None:
            waited = platform.clock.monotonic() - begun
            if waited > _UNTAKEN_SECONDS and self._asking.take_back(wish):
                raise NotReady(
                    f"nobody has begun {name} within {_UNTAKEN_SECONDS:g} seconds: it runs "
                    "already, or is to be tried again for an interval before, or no process with "
                    "the role work leads"
                )
            scheduler.wake()
            progress(0, 1)
            time.sleep(_POLL_SECONDS)
            if platform.leaving.is_set():
                raise NotReady(f"the process stops; see `penstock schedules list {name}`")
        progress(1, 1)
        return ran

    def republish(self) -> dict[str, int]:
        """Say all entities anew; how many there are, by application. Whoever serves next, or now,
        appends them to the log.
        """
        editing = self._platform.editing
        if editing is None:
            raise Rejected("no application that this process serves has entities")
        return editing.republish()

    def _statement(self, consumer: Consumer) -> str:
        """What creates its table, if it fills one."""
        statements = [
            statement
            for manifest in self._platform.manifests
            for statement in sql.schema(manifest.package)
            if Layout.name(statement) in consumer.projection.tables
        ]
        return statements[0] if statements else ""

    def _consumer(self, projection: str) -> Consumer:
        consumer = self._platform.consumers.get(projection)
        if consumer is None:
            known = ", ".join(sorted(self._platform.consumers))
            raise NotFound(f"there is no projection {projection}; there are {known}")
        return consumer

    def _readable(self, letter: DeadLetter) -> Letter:
        shown: Any = letter.payload.hex()
        consumer = self._platform.consumers.get(letter.projection)
        if consumer is not None:
            try:
                event = self._stores.codec(consumer.projection.topic).decode(letter.payload)
                shown = msgspec.json.encode(msgspec.structs.asdict(event)).decode()
            except Undecodable:
                pass
        return Letter(
            letter.projection,
            letter.topic,
            letter.partition,
            letter.offset,
            letter.next,
            letter.code,
            letter.reason,
            letter.at_ms,
            shown[:_RECORD_SHOWN],
        )


def _job_line(dead: DeadJob) -> JobLine:
    try:
        work = msgspec.json.encode(msgspec.msgpack.decode(dead.work)).decode()
    except (msgspec.MsgspecError, TypeError):
        work = dead.work.hex()
    return JobLine(
        dead.number,
        dead.job,
        dead.projection,
        dead.project,
        own_key(dead.project, dead.key).decode(errors="backslashreplace"),
        dead.name,
        dead.attempts,
        dead.reason,
        dead.at_ms,
        work[:_RECORD_SHOWN],
    )
