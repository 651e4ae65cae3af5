"""Where projections go: one batch of the log into a table or a space, with exactly-once effect."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

import msgspec

from penstock.core.errors import Damaged, Disproved
from penstock.core.events import Event
from penstock.core.log import Batch, record_number, record_place
from penstock.core.projection import Fold, Projection, Row, Rows, Table, verdicts, witness
from penstock.core.projection.ahead import absent_of, ahead_of, twice_of
from penstock.core.projection.decoding import Decoded, Decoding, told_of
from penstock.core.projection.parking import DeadLetter
from penstock.core.projection.stores import Stores as Stores  # noqa: PLC0414 - what sinks are made of
from penstock.core.state import Entry, Position, Trim
from penstock.core.warehouse import BadRows, Block

_encode_lines = msgspec.json.Encoder().encode_lines
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode
_TRACKED_GROUPS_MAX = 200_000


class Outcome(NamedTuple):
    projected: int
    skipped: int
    parked: int


class Resume(NamedTuple):
    """What the store has."""

    position: Position | None
    """None where it has nothing yet."""
    first: int = 0
    """Where to go on. What lies between this and the position may be in already, and is to be
    applied first, as one block.
    """


class Sink(Protocol):
    def resume(self, log: str, partition: int) -> Resume:
        """Forget what was in hand of this partition and go by the store.

        Raise `Disproved` for what was made from another log, or otherwise than it would be now, and
        `Damaged` when it is not what its position claims.
        """
        ...

    def adopt(self, partition: int, proof: str) -> None:
        """Keep the proof with the position that was resumed, which is older than proofs."""
        ...

    def judge(self, partition: int, disproved: str) -> None:
        """Tell all processes why the view is not to be answered from; nothing: it may be."""
        ...

    def judged(self) -> dict[int, str]:
        """What was told so, by partition. For any thread."""
        ...

    def position(self, partition: int) -> int:
        """How far the store has come, whoever filled it; 0 for none. For any thread."""
        ...

    def stored(self, partition: int) -> Position | None:
        """The same with its proof."""
        ...

    def lacks(self, *, deep: bool = False) -> str:
        """What the store no longer holds of what its positions claim, in words; empty when that is
        nothing. Cheap, but for `deep`, which may read everything. For any thread.
        """
        ...

    def apply(self, log: str, partition: int, batch: Batch) -> Outcome:
        """Blocks. Idempotent for the same batch. `Unavailable` and `NotReady` are to be retried."""
        ...

    def compact(self) -> None:
        """Arrange what is there for reading, in the background: a backlog has been worked off."""
        ...

    def retry(self, log: str, letter: DeadLetter) -> None:
        """Project one parked record; raise what stands in its way."""
        ...


def sink(projection: Projection, stores: Stores) -> Sink:
    if isinstance(projection, Table):
        return TableSink(projection, stores)
    return FoldSink(projection, stores)


class TableSink:
    def __init__(self, table: Table[Any], stores: Stores, *, into: str = "") -> None:
        self._table = table
        self._into = into or table.table
        self._warehouse = stores.tables
        self._state = stores.state
        self._decoding: Decoding[Any] = Decoding(
            replace(table, table=self._into), stores, of=table.name
        )
        self._planned: dict[int, Block | None] = {}
        self._carries: dict[int, Any] = {}
        self._proved: set[int] = set()
        """Partitions whose rows were compared with their plan: only a stop can part the two."""
        self._unsure: dict[int, int] = {}
        """Rows of each partition's records before this offset may be in already."""

    @property
    def carries(self) -> list[Any]:
        """What each partition of this process has come to know; see `Table.carry`."""
        return list(self._carries.copy().values())

    def resume(self, log: str, partition: int) -> Resume:
        self._decoding.resume(partition)
        planned = self._warehouse.planned(self._into, partition)
        self._prove(partition)
        self._planned[partition] = planned
        self._unsure[partition] = 0 if planned is None else planned.next
        if planned is None:
            self._carries[partition] = self._table.carry
            return Resume(None)
        if planned.log != log:
            raise verdicts.other_log(self._into, "table")
        self._carries[partition] = _unpack(planned.carry)
        return Resume(planned.position, planned.first)

    def adopt(self, partition: int, proof: str) -> None:
        planned = self._planned[partition]
        if planned is not None:
            self._plan(partition, planned._replace(proof=proof))

    def judge(self, partition: int, disproved: str) -> None:
        verdicts.note(self._state, self._into, partition, disproved)

    def judged(self) -> dict[int, str]:
        return verdicts.told(self._state, self._into)

    def position(self, partition: int) -> int:
        stored = self.stored(partition)
        return 0 if stored is None else stored.next

    def stored(self, partition: int) -> Position | None:
        planned = self._warehouse.planned(self._into, partition)
        return None if planned is None else planned.position

    def lacks(self, *, deep: bool = False) -> str:
        if damage := self._warehouse.damage(self._into, deep=deep):
            return damage
        return witness.missing(self._warehouse, self._state, self._into)

    def apply(self, log: str, partition: int, batch: Batch) -> Outcome:
        decoded = self._decoding.events(partition, batch)
        carry = self._carries.get(partition, self._table.carry)
        rows, poison = self._rows(partition, decoded, batch, carry)
        block = self._plan(
            partition, Block(log, batch.first, batch.next, _pack(carry), batch.proof)
        )
        refused = self._settle(partition, block, rows.rows, batch)
        self._carries[partition] = rows.carry
        parked = decoded.parked + poison + refused
        return Outcome(len(rows.rows) - refused, rows.skipped + decoded.given_up, parked)

    def _plan(self, partition: int, block: Block) -> Block:
        """The block as it is planned: one that is made again, while retention deletes what proved
        it, keeps its proof.
        """
        was = self._planned.get(partition)
        if was is not None and not block.proof and was == block._replace(proof=was.proof):
            return was
        self._warehouse.plan(self._into, partition, was, block)
        self._planned[partition] = block
        return block

    def compact(self) -> None:
        """Nothing to do: the warehouse merges what is small by itself."""

    def retry(self, log: str, letter: DeadLetter) -> None:
        event = self._decoding.event(letter.payload)
        number = record_number(letter.partition, letter.offset)
        rows = self._table.rows([event], [number], [letter.taken_ms], self._table.carry).rows
        if not self._warehouse.feeds(self._into):
            rows = absent_of(self._warehouse, self._into, rows)
        token = f"{log}:{letter.partition}:{letter.offset}:retry"
        if rows:
            self._warehouse.insert(self._into, _encode_lines(rows), len(rows), token)

    def _prove(self, partition: int) -> None:
        if damage := self._warehouse.damage(self._into):
            raise Damaged(self._into, damage)
        if partition in self._proved:
            return
        # Before anything is added: new rows of a partition would stand for those that it lost.
        if lost := witness.missing(self._warehouse, self._state, self._into):
            raise Damaged(self._into, lost)
        if ahead := ahead_of(self._warehouse, self._into, partition):
            raise Damaged(self._into, ahead)
        self._proved.add(partition)

    def _rows(self, partition: int, decoded: Decoded, batch: Batch, carry: Any) -> tuple[Rows, int]:
        with suppress(Exception):  # some event is poison: find out which
            return self._table.rows(*decoded[:3], carry), 0
        rows: list[Row] = []
        skipped = 0

        def project(event: Event, number: int, at_ms: int) -> None:
            nonlocal carry, skipped
            one = self._table.rows([event], [number], [at_ms], carry)
            rows.extend(one.rows)
            carry, skipped = one.carry, skipped + one.skipped

        parked = self._decoding.isolate(partition, decoded, batch, project)
        return Rows(rows, carry, skipped), parked

    def _settle(self, partition: int, block: Block, rows: Sequence[Row], batch: Batch) -> int:
        """Insert what is not in; how many rows the engine refused.

        Tokens tell two processes apart that insert at once, and an insert that still goes on from
        its repeat. What a stop left of them proves nothing: the engine writes a token down before
        its rows, and syncs neither with the other. So the rows that are there are looked at. Only
        of a table that feeds views all are sent, for what views have the engine alone knows.
        """
        token = f"{block.log}:{partition}:{block.first}-{block.next}"
        if block.first >= self._unsure.get(partition, 0):
            return self._insert(partition, token, rows, batch)
        if self._warehouse.feeds(self._into):
            refused = self._insert(partition, token, rows, batch)
            if twice := twice_of(self._warehouse, self._into, rows):
                raise Damaged(self._into, twice)
            return refused
        rows = absent_of(self._warehouse, self._into, rows)
        refused = self._insert(partition, token, rows, batch)
        if self._warehouse.folder is None:
            return refused  # where others insert too, rows that do not show may be on their way
        rows = absent_of(self._warehouse, self._into, rows)
        if len(rows) > refused:
            refused = self._insert(partition, f"{token}:{uuid4()}", rows, batch)
        return refused

    def _insert(self, partition: int, token: str, rows: Sequence[Row], batch: Batch) -> int:
        """When the engine refuses the rows, halve until the refused one stands alone."""
        if not rows:
            return 0
        try:
            self._warehouse.insert(self._into, _encode_lines(rows), len(rows), token)
        except BadRows as error:
            return self._bisect(
                partition, token, rows, span=(0, len(rows)), batch=batch, error=error
            )
        return 0

    def _bisect(
        self,
        partition: int,
        token: str,
        rows: Sequence[Row],
        *,
        span: tuple[int, int],
        batch: Batch,
        error: BadRows,
    ) -> int:
        low, high = span
        if high - low == 1:
            _, offset = record_place(rows[low].log_offset)
            self._decoding.park(partition, offset, batch, "refused", told_of(error))
            return 1
        refused = 0
        middle = (low + high) // 2
        for part in ((low, middle), (middle, high)):
            chunk = rows[part[0] : part[1]]
            name = f"{token}/{chunk[0].log_offset}-{chunk[-1].log_offset}"
            try:
                self._warehouse.insert(self._into, _encode_lines(chunk), len(chunk), name)
            except BadRows as again:
                refused += self._bisect(partition, token, rows, span=part, batch=batch, error=again)
        return refused


class FoldSink:
    def __init__(self, fold: Fold[Any], stores: Stores, *, into: str = "") -> None:
        self._fold = fold
        self._into = into or fold.space
        self._stores = stores
        self._decoding: Decoding[Any] = Decoding(
            replace(fold, space=self._into), stores, of=fold.name
        )
        self._added: Counter[bytes] = Counter()
        self._positions: dict[int, Position | None] = {}

    def resume(self, log: str, partition: int) -> Resume:
        self._decoding.resume(partition)
        position = self._stores.state.position(self._into, partition)
        self._positions[partition] = position
        if position is None:
            return Resume(None)
        if position.log != log:
            raise verdicts.other_log(self._into, "space")
        if position.version != self._fold.version:
            raise Disproved(
                f"{self._into} was filled by version {position.version} of its projection, and "
                f"this is {self._fold.version}; run `penstock rebuild {self._into} --from-scratch`"
            )
        return Resume(position, position.next)

    def adopt(self, partition: int, proof: str) -> None:
        if (position := self._positions[partition]) is not None:
            self._step(partition, [], position._replace(proof=proof))

    def judge(self, partition: int, disproved: str) -> None:
        verdicts.note(self._stores.state, self._into, partition, disproved)

    def judged(self) -> dict[int, str]:
        return verdicts.told(self._stores.state, self._into)

    def position(self, partition: int) -> int:
        stored = self.stored(partition)
        return 0 if stored is None else stored.next

    def stored(self, partition: int) -> Position | None:
        return self._stores.state.position(self._into, partition)

    def lacks(self, *, deep: bool = False) -> str:
        del deep
        return self._stores.state.lacking(self._into)

    def apply(self, log: str, partition: int, batch: Batch) -> Outcome:
        decoded = self._decoding.events(partition, batch)
        parked = decoded.parked
        try:
            entries = self._fold.entries(decoded.events, decoded.numbers)
        except Exception:  # noqa: BLE001 - some event is poison: find out which
            found: list[Entry] = []
            parked += self._decoding.isolate(
                partition, decoded, batch,
                lambda event, number, _: found.extend(self._fold.entries([event], [number])),
            )  # fmt: skip
            entries = found
        position = Position(log, batch.next, self._fold.version, batch.proof)
        self._step(partition, entries, position)
        return Outcome(len(entries), decoded.given_up, parked)

    def _step(self, partition: int, entries: Sequence[Entry], position: Position) -> None:
        self._stores.state.apply(
            self._into,
            entries,
            partition=partition,
            was=self._positions.get(partition),
            position=position,
            trims=self._trims(entries) if self._fold.keep else (),
        )
        self._positions[partition] = position

    def compact(self) -> None:
        self._stores.state.compact(self._into)

    def retry(self, log: str, letter: DeadLetter) -> None:
        del log
        event = self._decoding.event(letter.payload)
        number = record_number(letter.partition, letter.offset)
        for entry in self._fold.entries([event], [number]):
            self._stores.state.put(self._into, entry)

    def _trims(self, entries: Sequence[Entry]) -> list[Trim]:
        """Groups that have grown by `keep` since their last trim: a hot group never holds more than
        about twice what matters, and no read is needed to know it.
        """
        added = self._added
        groups = [entry.group for entry in entries]
        added.update(groups)
        keep = self._fold.keep
        full = [group for group in set(groups) if added[group] >= keep]
        for group in full:
            del added[group]
        if len(added) > _TRACKED_GROUPS_MAX:
            self._added = Counter({group: n for group, n in added.items() if n > keep // 8})
            if len(self._added) > _TRACKED_GROUPS_MAX:
                self._added.clear()
        return [Trim(group, keep) for group in full]
