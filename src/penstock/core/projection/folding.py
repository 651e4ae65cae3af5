"""Where a fold goes: its events into the log, then its states and its position into the state.

Both cannot be one transaction, and need not: what was appended and not yet applied is made again by
the same steps from the same states, and the log knows it by its origin. So events are in the log
exactly once, whenever the process ends, and none of them before what it was made from.
"""

from collections.abc import Sequence
from typing import Any

from penstock.core.errors import Disproved, Moved, NotReady
from penstock.core.log import Append, Batch, Origin, record_place
from penstock.core.log.awaiting import stored
from penstock.core.position import is_of
from penstock.core.projection import Fold, Record
from penstock.core.projection.contract import Outcome
from penstock.core.projection.dead_letters import DeadLetter, place_of
from penstock.core.projection.decoding import Decoded, told_of
from penstock.core.projection.spaces import SpaceSink
from penstock.core.projection.stepping import Block, Said, Stepper
from penstock.core.projection.stores import Stores
from penstock.core.state import Entry, Place, Position

_PORTION_RECORDS = 10_000
_PORTION_BYTES = 4 << 20
"""So much is said at once: the log's queue is everybody's."""


class FoldSink(SpaceSink):
    def __init__(self, fold: Fold[Any, Any], stores: Stores, *, into: str = "") -> None:
        super().__init__(fold, stores, into=into)
        self.muted = False
        """Whether what it says is in the log already, or is somebody else's to say."""
        self._fold = fold
        self._log = stores.log
        self._stepper: Stepper[Any, Any] = Stepper(fold, stores.codec)

    def apply(self, log: str, partition: int, batch: Batch) -> Outcome:
        decoded = self._decoding.records(partition, batch)
        block = self._block(partition, decoded.records)
        poison = self._steps(partition, decoded, batch, block)
        self._keep(partition, Position(log, batch.next, self._fold.version, batch.proof), block)
        stepped = len(decoded.records) - poison
        return Outcome(stepped, decoded.given_up, decoded.dead_lettered + poison)

    def retry(self, log: str, letter: DeadLetter) -> None:
        """Step it now, after what came behind it. In the same write it leaves the dead letters."""
        position = self.stored(letter.partition)
        if position is None or not is_of(position.log, log) or position.next <= letter.offset:
            raise NotReady(f"{self._into} has not come to this record yet; try again")
        record = self._decoding.record(letter)
        self._positions[letter.partition] = position
        block = self._block(letter.partition, [record])
        said = Saying(f"{self._fold.space}/{letter.partition}/{letter.offset}", letter.partition)
        said.add(record.number, self._stepper.step(block, record))
        self._say(said)
        self._keep(letter.partition, position, block, settled=(place_of(letter),))

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

    def _steps(self, partition: int, decoded: Decoded, batch: Batch, block: Block[Any]) -> int:
        """Step by step; what is said is durable when this returns. How many became dead letters."""
        step, said, poison = self._stepper.step, Saying(self._fold.space, partition), 0
        for record in decoded.records:
            try:
                found = step(block, record)
            except Disproved:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a step raises is poison
                _, offset = record_place(record.number)
                self._decoding.dead_letter(partition, offset, batch, "rows", told_of(error))
                poison += 1
                continue
            if found:
                said.add(record.number, found)
                if said.records >= _PORTION_RECORDS or said.bytes >= _PORTION_BYTES:
                    self._say(said)
                    said = Saying(self._fold.space, partition)
        self._say(said)
        return poison

    def _say(self, said: "Saying") -> None:
        if self.muted or not said.records:
            return
        if self._log is None:
            raise NotReady(f"{self._fold.space} decides, and this process may not append")
        stored(self._log, said.appends())

    def _keep(
        self,
        partition: int,
        position: Position,
        block: Block[Any],
        *,
        settled: Sequence[Place] = (),
    ) -> None:
        written = block.written.items()
        self._write(
            partition,
            position,
            [Entry(key, b"", value) for key, value in written if value is not None],
            deletes=[
                *(Place(self._into, k) for k, v in written if v is None and k in block.found),
                *settled,
            ],
        )


class Saying:
    """What some records had a fold say, topic by topic."""

    def __init__(self, source: str, partition: int) -> None:
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

    def appends(self) -> list[Append]:
        return [
            Append(topic, payloads, keys, origin=Origin(self._source, self._partition, numbers))
            for topic, (payloads, keys, numbers) in self._topics.items()
        ]
