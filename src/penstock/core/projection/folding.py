"""Where a fold goes: its events into the log, then its states and its position into the state.

Both cannot be one transaction, and need not: what was appended and not yet applied is made again by
the same steps from the same states, and the log knows it by its origin. So events are in the log
exactly once, whenever the process ends, and none of them before what it was made from.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from os import urandom
from typing import Any

import msgspec

from penstock.core.errors import Disproved, Moved, NotReady
from penstock.core.events.generations import generation
from penstock.core.log import Append, Batch, Origin, record_place
from penstock.core.log.awaiting import stored
from penstock.core.position import is_of
from penstock.core.projection import Fold, Record, marks
from penstock.core.projection.block import Block
from penstock.core.projection.contract import Outcome, Resume
from penstock.core.projection.dead_jobs import DeadJob
from penstock.core.projection.dead_letters import DeadLetter, place_of
from penstock.core.projection.decoding import Decoded, raised
from penstock.core.projection.doing import Doing
from penstock.core.projection.due import Elapsed, Heard
from penstock.core.projection.expiry import GRACE_MS, Expiry
from penstock.core.projection.job import Done
from penstock.core.projection.mirroring import Mirroring, Told
from penstock.core.projection.near import Near
from penstock.core.projection.outputs import Outputs
from penstock.core.projection.spaces import SpaceSink
from penstock.core.projection.stepping import Said, Stepper
from penstock.core.projection.stores import Stores
from penstock.core.projection.timers import Timers
from penstock.core.projects import own_key
from penstock.core.state import Entry, Place, Position

_PORTION_RECORDS = 10_000
_PORTION_BYTES = 4 << 20
"""So much is said at once: the log's queue is everybody's."""


class FoldSink(SpaceSink):
    def __init__(self, fold: Fold[Any, Any], stores: Stores, *, into: str = "") -> None:
        super().__init__(fold, stores, into=into)
        self.muted = False
        """Whether what it says is in the log already, or is somebody else's to say."""
        self.outputs: Outputs | None = None
        """What it says then is held against the log by this."""
        self.near: Near[Any, Any] | None = None
        """Who is told of all that is heard, once it is in."""
        self.fold = fold
        self._log = stores.log
        self._clock = stores.clock
        self._stepper: Stepper[Any, Any] = Stepper(fold, stores.codec, circles=stores.circles)
        self._codec = stores.codec(fold.topic)
        self.stepping: int | None = None
        """Number of the record whose step is under way. For any thread."""
        self.stir: Callable[[], None] = lambda: None
        """Called when a job has ended; on another thread."""
        self._workers = stores.workers
        self._timers: dict[int, Timers] = {}
        self._expiry: dict[int, Expiry] = {}
        self._doing: dict[int, Doing] = {}
        self._stores = stores
        self.has_warehouse = stores.warehouse is not None
        self.mirror_table = (
            "" if fold.mirror is None else fold.mirror.table + into.removeprefix(fold.space)
        )
        """The one that it fills."""
        self.mirrorings: dict[int, Mirroring] = {}
        """By partition, of those that were resumed."""

    def resume(self, log: str, partition: int) -> Resume:
        """As of one position: another one may be at it, too."""
        while True:
            found = super().resume(log, partition)
            self._timers[partition] = Timers(self._state, self._into, partition)
            self._expiry[partition] = Expiry(self.fold, self._state, self._into, partition)
            self.doing(partition).resume()
            if (mirroring := self.mirroring(partition)) is not None:
                mirroring.resume()
            if self.stored(partition) == self._positions[partition]:
                if self.near is not None:
                    self.near.resumed(log, partition, found.first)
                return found

    def apply(self, log: str, partition: int, batch: Batch) -> Outcome:
        decoded = self._decoding.records(partition, batch)
        block = self._block(partition, decoded.records)
        try:
            stale, poison = self._steps(partition, decoded, batch, block)
        finally:
            self.stepping = None
        position = Position(log, batch.next, self.fold.version, batch.proof)
        self._keep(partition, position, block, records=decoded.records)
        if self.near is not None:
            self.near.heard(partition, batch, block)
        stepped = len(decoded.records) - stale - poison
        return Outcome(stepped, decoded.left_out + stale, decoded.dead_lettered + poison)

    def retry(self, log: str, letter: DeadLetter) -> None:
        """Step it now, after what came behind it. In the same write it leaves the dead letters."""
        position = self.stored(letter.partition)
        if position is None or not is_of(position.log, log) or position.next <= letter.offset:
            raise NotReady(f"{self._into} has not come to this record yet; try again")
        record = self._decoding.record(letter)
        self._positions[letter.partition] = position
        block = self._block(letter.partition, [record])
        name = f"{self.fold.space}/{letter.partition}/{letter.offset}"
        said = Saying(name, letter.partition, alone=True)
        found = self._stepper.step(block, record, lambda _: generation(letter.payload))
        said.add(record.number, found)
        self._say(said)
        self._keep(letter.partition, position, block, settled=(place_of(letter),))
        if self.near is not None:
            self.near.changed(block)

    def _block(self, partition: int, records: Sequence[Record[Any]]) -> Block[Any]:
        """What is known of their keys here, where this cursor is. Raise `Moved`.

        The position is looked at behind what it is of: who goes on from states that somebody else
        has moved would say what nobody may, before the state refuses the rest.
        """
        keys = self._stepper.keys(records)
        values = self._state.get_many(self._into, keys)
        was = self._positions.get(partition)
        if (found := self.stored(partition)) != was:
            raise Moved(f"{self._into} is at {found} in partition {partition}, not at {was}")
        return Block({k: v for k, v in zip(keys, values, strict=True) if v is not None})

    def _steps(
        self, partition: int, decoded: Decoded, batch: Batch, block: Block[Any]
    ) -> tuple[int, int]:
        """Step by step; what is said is durable when this returns. How many were timers that
        nobody waits for, and how many became dead letters.
        """
        step, said, stale, poison = self._stepper.step, Saying(self.fold.space, partition), 0, 0
        counted, merges = partial(_generation, batch), self.fold.merge is not None
        for record in decoded.records:
            event = record.event
            if isinstance(event, Heard) and (merges or not block.hear(record.project, event)):
                stale += 1
                continue
            self.stepping = record.number
            found = self._returned(event)
            try:
                found = [*found, *step(block, record, counted)]
            except Disproved:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a step raises is poison
                _, offset = record_place(record.number)
                self._decoding.dead_letter(partition, offset, batch, "rows", raised(error))
                poison += 1
            if found:
                said.add(record.number, found)
                if said.records >= _PORTION_RECORDS or said.bytes >= _PORTION_BYTES:
                    self.stepping = None
                    self._say(said)
                    said = Saying(self.fold.space, partition)
        self.stepping = None
        self._say(said)
        return stale, poison

    def _returned(self, event: Any) -> Sequence[Said]:
        """By the job whose end this is; it is in the log whatever the step makes of that."""
        if not isinstance(event, Done):
            return ()
        topic = self.fold.topic.name
        return [Said(topic, *one) for one in zip(event.returned, event.keys, strict=True)]

    def _say(self, said: "Saying") -> None:
        if self.muted and self.outputs is not None:
            said.show(self.outputs)
        if self.muted or not said.records:
            return
        if self._log is None:
            raise NotReady(f"{self.fold.space} decides, and this process may not append")
        stored(self._log, said.appends())

    def _keep(
        self,
        partition: int,
        position: Position,
        block: Block[Any],
        *,
        settled: Sequence[Place] = (),
        records: Sequence[Record[Any]] = (),
    ) -> None:
        entries = block.entries(partition)
        deletes = [*block.deletes(self._into, partition), *settled]
        marked = [*entries, *self._marks(partition, block, in_turn=not settled)]
        if self.fold.expires is None:
            self._write(partition, position, marked, deletes=deletes)
        else:
            self._expire(partition, position, block, records, (marked, deletes))
        if (mirroring := self.mirrorings.get(partition)) is not None:
            mirroring.note(block.changed, block.expiring.values())
        if block.quiet or (timers := self._timers.get(partition)) is None:
            return
        timers.note(entries)
        timers.turn = max(timers.turn, block.turn or 0)
        if (doing := self._doing.get(partition)) is not None:
            doing.heard(entries, deletes, block.ended_at(partition))

    def _marks(self, partition: int, block: Block[Any], *, in_turn: bool) -> Sequence[Entry]:
        """What the mirror is to be told."""
        if not block.changed:
            return ()
        if in_turn:
            return marks.changed(partition, block.changed)
        return marks.out_of_turn(self._state, self._into, partition, block.changed)

    def _expire(
        self,
        partition: int,
        position: Position,
        block: Block[Any],
        records: Sequence[Record[Any]],
        made: tuple[Sequence[Entry], Sequence[Place]],
    ) -> None:
        """Write with what was made of a block what has expired long before both its last record and
        now: neither clock alone takes anything away.
        """
        expiry = self._expiry.get(partition)
        if expiry is None:  # a dead letter is retried by one who does not carry the partition on
            expiry = Expiry(self.fold, self._state, self._into, partition)
        now_ms = min(records[-1].at_ms, self._clock.now_ms()) if records else 0
        if self.fold.mirror is not None:  # which is to hear of it first
            mirroring = self.mirrorings.get(partition)
            now_ms = min(now_ms, GRACE_MS + mirroring.until_ms) if mirroring is not None else 0
        swept = expiry.swept(block, len(records), now_ms)
        entries, deletes = made
        self._write(
            partition, position, [*entries, *swept.entries], deletes=[*deletes, *swept.deletes]
        )
        expiry.wrote(swept)

    # -- what is to come ------------------------------------------------------------------------

    def timers(self, partition: int) -> Timers:
        """Of a partition that was resumed."""
        return self._timers[partition]

    def doing(self, partition: int) -> Doing:
        """Of a partition that was resumed; from now on it is followed."""
        found = self._doing.get(partition)
        if found is None:
            found = self._doing[partition] = Doing(
                self.fold,
                self._state,
                self._workers,
                into=self._into,
                partition=partition,
                codec=self._codec,
                write=partial(self._beside, partition),
                stir=self._stirred,
            )
        return found

    def _stirred(self) -> None:
        self.stir()

    def mirroring(self, partition: int) -> Mirroring | None:
        """Of a partition, if there is one. Made by the thread that steps."""
        found = self.mirrorings.get(partition)
        if found is None and self.mirror_table:
            found = self.mirrorings[partition] = Mirroring(
                self.fold,
                self._stores,
                into=self._into,
                table=self.mirror_table,
                partition=partition,
                stir=self._stirred,
            )
        return found

    def mirrored(self, partition: int) -> marks.Note:
        """What is known of the mirror, whoever fills it. For any thread."""
        return marks.noted(self._state, self._into, partition)

    def adopt_mirror(self, partition: int, *, whole: bool) -> None:
        """Its table is, or is not, the one of these states. Raise `Moved` and `NotReady`."""
        self.mirrorings[partition].adopt(partial(self._beside, partition), whole=whole)

    def settle_mirror(self, partition: int, told: Told | None) -> None:
        """Note what has gone into the mirror, if anything has. Raise `Moved` and `NotReady`."""
        if told is not None:
            self.mirrorings[partition].settle(told, partial(self._beside, partition))

    def say_due(self, partition: int, now_ms: int) -> bool:
        """Say which of the timers have elapsed whose time has come, and which jobs have ended.
        False when the log had this turn already, and took nothing.

        Where that is not told, all of it goes on waiting until it is heard. So what was said before
        is to be heard first.
        """
        if self._log is None:
            raise NotReady(f"{self.fold.space} decides, and this process may not append")
        timers, endings = self._timers[partition], self.doing(partition).endings
        timers.check_heard()
        elapsed = timers.elapsed(now_ms, _PORTION_RECORDS) if self.fold.times else []
        turn, of = timers.turn + 1, self._codec.of
        payloads, keys, size, said = list[bytes](), list[bytes](), 0, 0
        for (project, count), at in elapsed:
            key = own_key(project, at.key)
            event = Elapsed(key, at.name, at.wanted_ms, turn, at.at_ms)
            payloads.append(of(project, count)(event))
            keys.append(at.key)
        for one in endings:
            payloads.append(of(one.project)(msgspec.structs.replace(one.event, turn=turn)))
            keys.append(one.key)
            size, said = size + len(payloads[-1]), said + 1
            if size > _PORTION_BYTES or said > _PORTION_RECORDS:
                break
        if not payloads:
            return True
        numbers = [turn] * len(payloads)
        origin = Origin(f"{self.fold.space}/due", partition, numbers, attempt=urandom(8))
        append = Append(self.fold.topic.name, payloads, keys, origin=origin)
        if not stored(self._log, [append])[0].stored:
            return False
        if self._log.keyed:
            timers.said = turn
            return True
        if elapsed:
            timers.past(elapsed[-1][1])
        for _ in range(said):
            endings.popleft()
        return True

    def retry_job(self, log: str, dead: DeadJob, now_ms: int) -> None:
        """Let it be tried again. In the same write it leaves the dead letters."""
        position = self.stored(dead.partition)
        if position is None or position.log != log:
            raise NotReady(f"{self._into} is not there yet; try again")
        self._positions[dead.partition] = position
        doing = self.doing(dead.partition)
        entry, gone = doing.by_hand(dead, now_ms)
        self._beside(dead.partition, [entry], [gone])
        doing.queue.note([entry])

    def _beside(self, partition: int, entries: Sequence[Entry], deletes: Sequence[Place]) -> None:
        """Write without a step."""
        position = self._positions.get(partition)
        if position is None:
            raise NotReady(f"{self._into} is not there yet")
        self._write(partition, position, entries, deletes=deletes)


def _generation(batch: Batch, number: int) -> int:
    """Of the record that has this number."""
    _, offset = record_place(number)
    return generation(batch.payloads[bisect_left(batch.offsets, offset)])


class Saying:
    """What some records had a fold say, topic by topic."""

    def __init__(self, source: str, partition: int, *, alone: bool = False) -> None:
        """`alone`: nothing else comes of this source."""
        self._alone = alone
        self.records = 0
        self.bytes = 0
        self._source = source
        self._partition = partition
        self._topics: dict[str, tuple[list[bytes], list[bytes], list[int]]] = {}

    def add(self, number: int, said: Sequence[Said]) -> None:
        """All that the record of this number, which is higher than those before, had it say."""
        for topic, payload, key in said:
            if topic not in self._topics:
                self._topics[topic] = ([], [], [])
            payloads, keys, numbers = self._topics[topic]
            payloads.append(payload)
            keys.append(key)
            numbers.append(number)
            self.bytes += len(payload)
        self.records += len(said)

    def show(self, outputs: Outputs) -> None:
        for topic, (payloads, _, numbers) in self._topics.items():
            for number, payload in zip(numbers, payloads, strict=True):
                outputs.see(topic, number, payload)

    def appends(self) -> list[Append]:
        origin = Origin(self._source, self._partition, (), alone=self._alone)
        return [
            Append(topic, payloads, keys, origin=origin._replace(numbers=numbers))
            for topic, (payloads, keys, numbers) in self._topics.items()
        ]
