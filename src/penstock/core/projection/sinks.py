"""Where projections go: one batch of the log into a table or a space, with exactly-once effect."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any
from uuid import uuid4

import msgspec

from penstock.core.errors import Damaged, told_of
from penstock.core.log import Batch, record_place
from penstock.core.position import is_of
from penstock.core.projection import (
    Fold,
    Index,
    Projection,
    Record,
    Row,
    Rows,
    Table,
    verdicts,
    witness,
)
from penstock.core.projection.ahead import absent_of, ahead_of, twice_of
from penstock.core.projection.contract import Outcome, Resume, Sink
from penstock.core.projection.dead_letters import DeadLetter
from penstock.core.projection.decoding import Decoded
from penstock.core.projection.folding import FoldSink
from penstock.core.projection.spaces import SpaceSink
from penstock.core.projection.stores import Stores as Stores  # noqa: PLC0414 - what sinks are made of
from penstock.core.projection.views import ViewSink
from penstock.core.projects import DEFAULT_PROJECT, NOT_OF_TEXT, key_of
from penstock.core.state import Entry, Position, Trim
from penstock.core.warehouse import BadRows, Block

_encode_lines = msgspec.json.Encoder().encode_lines
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode
_TRACKED_GROUPS_MAX = 200_000
_group_of = itemgetter(0)
_DEFAULT_ALONE = frozenset((DEFAULT_PROJECT,))


def sink(projection: Projection, stores: Stores, *, into: str = "") -> Sink:
    """`into`: a name other than the projection's own, to fill a shadow of it."""
    if isinstance(projection, Table):
        return TableSink(projection, stores, into=into)
    if isinstance(projection, Fold):
        return FoldSink(projection, stores, into=into)
    return IndexSink(projection, stores, into=into)


class TableSink(ViewSink):
    def __init__(self, table: Table[Any], stores: Stores, *, into: str = "") -> None:
        super().__init__(table, stores, into=into)
        self._table = table
        self._warehouse = stores.tables
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
        if not is_of(planned.log, log):
            raise verdicts.other_log(self._into, "table")
        self._carries[partition] = _unpack(planned.carry)
        return Resume(planned.position, planned.first, planned.before)

    def adopt(self, partition: int, proof: str) -> None:
        planned = self._planned[partition]
        if planned is not None:
            self._plan(partition, planned._replace(proof=proof))

    def stored(self, partition: int) -> Position | None:
        planned = self._warehouse.planned(self._into, partition)
        return None if planned is None else planned.position

    def needed(self, partition: int) -> int | None:
        planned = self._planned.get(partition) or self._warehouse.planned(self._into, partition)
        return None if planned is None else planned.first

    def settle(self, partition: int) -> None:
        """By a plan of nothing, behind it: after a stop nothing is made again."""
        planned = self._planned.get(partition)
        if planned is not None and planned.first < planned.next:
            carry = _pack(self._carries[partition])
            self._plan(partition, planned._replace(first=planned.next, carry=carry, before=""))

    def lacks(self, *, deep: bool = False) -> str:
        if damage := self._warehouse.damage(self._into, deep=deep):
            return damage
        return witness.missing(self._warehouse, self._state, self._into)

    def apply(self, log: str, partition: int, batch: Batch) -> Outcome:
        decoded = self._decoding.records(partition, batch)
        carry = self._carries.get(partition, self._table.carry)
        rows, poison = self._rows(partition, decoded, batch, carry)
        block = self._plan(
            partition,
            Block(log, batch.first, batch.next, _pack(carry), batch.proof, batch.before),
        )
        refused = self._settle(partition, block, rows.rows, batch)
        self._carries[partition] = rows.carry
        dead_lettered = decoded.dead_lettered + poison + refused
        return Outcome(len(rows.rows) - refused, rows.skipped + decoded.left_out, dead_lettered)

    def _plan(self, partition: int, block: Block) -> Block:
        """The block as it is planned: one that is made again keeps the name of its log, and its
        proof while retention deletes what proved it.
        """
        was = self._planned.get(partition)
        if was is not None and (was.first, was.next) == (block.first, block.next):
            block = block._replace(log=was.log, proof=block.proof or was.proof)
        if was == block:
            return was
        self._warehouse.plan(self._into, partition, was, block)
        self._planned[partition] = block
        return block

    def compact(self) -> None:
        """Nothing to do: the warehouse merges what is small by itself."""

    def retry(self, log: str, letter: DeadLetter) -> None:
        rows = self._table.rows([self._decoding.record(letter)], self._table.carry).rows
        if not self._warehouse.feeds(self._into):
            rows = absent_of(self._warehouse, self._into, rows)
        token = f"{log}:{letter.partition}:{letter.offset}:retry"
        if rows:
            self._send(rows, token)

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
            return self._table.rows(decoded.records, carry), 0
        rows: list[Row] = []
        skipped = 0

        def project(record: Record[Any]) -> None:
            nonlocal carry, skipped
            one = self._table.rows([record], carry)
            rows.extend(one.rows)
            carry, skipped = one.carry, skipped + one.skipped

        dead_lettered = self._decoding.isolate(partition, decoded, batch, project)
        return Rows(rows, carry, skipped), dead_lettered

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
            self._send(rows, token)
        except BadRows as error:
            return self._bisect(
                partition, token, rows, span=(0, len(rows)), batch=batch, error=error
            )
        return 0

    def _send(self, rows: Sequence[Row], token: str) -> None:
        lines = _encode_lines(rows)
        self._warehouse.insert(self._into, lines, len(rows), token, self._table.columns)

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
            self._decoding.dead_letter(partition, offset, batch, "refused", told_of(error))
            return 1
        refused = 0
        middle = (low + high) // 2
        for part in ((low, middle), (middle, high)):
            chunk = rows[part[0] : part[1]]
            name = f"{token}/{chunk[0].log_offset}-{chunk[-1].log_offset}"
            try:
                self._send(chunk, name)
            except BadRows as again:
                refused += self._bisect(partition, token, rows, span=part, batch=batch, error=again)
        return refused


class IndexSink(SpaceSink):
    def __init__(self, index: Index[Any], stores: Stores, *, into: str = "") -> None:
        super().__init__(index, stores, into=into)
        self._index = index
        self._added: Counter[bytes] = Counter()

    def apply(self, log: str, partition: int, batch: Batch) -> Outcome:
        decoded = self._decoding.records(partition, batch)
        dead_lettered = decoded.dead_lettered
        try:
            entries = self._entries(decoded.records)
        except Exception:  # noqa: BLE001 - some event is poison: find out which
            found: list[Entry] = []
            dead_lettered += self._decoding.isolate(
                partition, decoded, batch,
                lambda record: found.extend(self._entries([record])),
            )  # fmt: skip
            entries = found
        position = Position(log, batch.next, self._index.version, batch.proof)
        self._write(partition, position, entries, trims=self._trims(entries))
        return Outcome(len(entries), decoded.left_out, dead_lettered)

    def retry(self, log: str, letter: DeadLetter) -> None:
        del log
        for entry in self._entries([self._decoding.record(letter)]):
            self._state.put(self._into, entry)

    def _entries(self, records: Sequence[Record[Any]]) -> Sequence[Entry]:
        """With each project's groups apart."""
        entries = self._index.entries(records)
        projects = {record.project for record in records}
        highest = max(map(_group_of, entries), default=b"")
        if projects <= _DEFAULT_ALONE and highest < NOT_OF_TEXT:
            return entries
        return [
            entry._replace(group=key_of(record.project, entry.group))
            for record, entry in zip(records, entries, strict=True)
        ]

    def _trims(self, entries: Sequence[Entry]) -> list[Trim]:
        """Groups that have grown by `keep` since their last trim: a hot group never holds more than
        about twice what matters, and no read is needed to know it.
        """
        added = self._added
        if not self._index.keep:
            return []
        groups = [entry.group for entry in entries]
        added.update(groups)
        keep = self._index.keep
        full = [group for group in set(groups) if added[group] >= keep]
        for group in full:
            del added[group]
        if len(added) > _TRACKED_GROUPS_MAX:
            self._added = Counter({group: n for group, n in added.items() if n > keep // 8})
            if len(self._added) > _TRACKED_GROUPS_MAX:
                self._added.clear()
        return [Trim(group, keep) for group in full]
