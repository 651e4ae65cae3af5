"""Where projections go: one batch of the log into a table or a space, with exactly-once effect."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from penstock.core.clock import Clock
from penstock.core.errors import Damaged, Misconfigured, NotReady
from penstock.core.events import Codec, Event, Undecodable
from penstock.core.log import Batch, record_number, record_place
from penstock.core.projection import Fold, Projection, Row, Rows, Table, Topic
from penstock.core.projection.ahead import ahead_of
from penstock.core.projection.parking import DeadLetter, Parking, damaged
from penstock.core.state import Entry, Position, State, Trim
from penstock.core.warehouse import BadRows, Block, Warehouse

_encode_lines = msgspec.json.Encoder().encode_lines
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode
_TRACKED_GROUPS_MAX = 200_000

T = TypeVar("T")


class Stores(NamedTuple):
    """What sinks write to."""

    warehouse: Warehouse | None
    """None in a process that carries no tables and answers no queries."""
    state: State
    parking: Parking
    clock: Clock
    codec: Callable[[Topic[Any]], Codec[Any]] = Topic.codec
    """What the records of a topic are read with."""

    @property
    def tables(self) -> Warehouse:
        """Raise `NotReady` in a process without a warehouse."""
        if self.warehouse is None:
            raise NotReady("this process has no warehouse; ask one with the role api")
        return self.warehouse


class Outcome(NamedTuple):
    projected: int
    skipped: int
    parked: int


class Resume(NamedTuple):
    """Where to go on. With `again`, that range may be in already and is to be applied first."""

    position: int
    again: int | None = None


class Sink(Protocol):
    def resume(self, log: str, partition: int) -> Resume:
        """Forget what was in hand of this partition and go by the store. Raise `Damaged` when it
        is not what its position claims.
        """
        ...

    def position(self, partition: int) -> int:
        """How far the store has come, whoever filled it; 0 for none. For any thread."""
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


class _Decoding(Generic[T]):
    """Records into events, the undecodable ones parked."""

    def __init__(self, projection: Projection, stores: Stores) -> None:
        self._projection = projection
        self._stores = stores
        self._codec = stores.codec(projection.topic)

    def events(self, partition: int, batch: Batch) -> tuple[list[Event], Sequence[int], int]:
        """Events, their record numbers, and how many records were parked."""
        name, topic = self._projection.name, self._projection.topic.name
        parked = 0
        for damage in batch.damages:
            letter = damaged(name, topic, partition, damage, self._stores.clock.now_ms())
            self._stores.parking.park(letter)
            parked += letter.records
        decode = self._codec.decode
        try:
            events = [decode(payload) for payload in batch.payloads]
            return events, _numbers(partition, batch.offsets), parked
        except Undecodable:
            pass
        events = []
        numbers: list[int] = []
        for offset, payload in zip(batch.offsets, batch.payloads, strict=True):
            try:
                events.append(decode(payload))
                numbers.append(record_number(partition, offset))
            except Undecodable as error:
                self.park(partition, offset, payload, "undecodable", error)
                parked += 1
        return events, numbers, parked

    def event(self, payload: bytes) -> Event:
        event: Event = self._codec.decode(payload)
        return event

    def park(
        self, partition: int, offset: int, payload: bytes, code: str, error: Exception
    ) -> None:
        self._stores.parking.park(
            DeadLetter(
                projection=self._projection.name,
                topic=self._projection.topic.name,
                partition=partition,
                offset=offset,
                next=offset + 1,
                code=code,
                reason=f"{type(error).__name__}: {error}",
                payload=payload,
                attempts=1,
                at_ms=self._stores.clock.now_ms(),
            )
        )

    def isolate(
        self,
        partition: int,
        events: Sequence[Event],
        numbers: Sequence[int],
        batch: Batch,
        project: Callable[[Event, int], None],
    ) -> int:
        """Project one by one; park those whose projection raises. Returns how many."""
        parked = 0
        payloads = dict(zip(batch.offsets, batch.payloads, strict=True))
        for event, number in zip(events, numbers, strict=True):
            try:
                project(event, number)
            except Exception as error:  # noqa: BLE001 - whatever a projection raises is poison
                _, offset = record_place(number)
                self.park(partition, offset, payloads[offset], "rows", error)
                parked += 1
        return parked


class TableSink:
    def __init__(self, table: Table[Any], stores: Stores, *, into: str = "") -> None:
        self._table = table
        self._into = into or table.table
        self._warehouse = stores.tables
        self._decoding: _Decoding[Any] = _Decoding(replace(table, table=self._into), stores)
        self._planned: dict[int, Block | None] = {}
        self._carries: dict[int, Any] = {}
        self._proved: set[int] = set()
        """Partitions whose rows were compared with their plan: only a stop can part the two."""

    @property
    def carries(self) -> list[Any]:
        """What each partition of this process has come to know; see `Table.carry`."""
        return list(self._carries.copy().values())

    def resume(self, log: str, partition: int) -> Resume:
        planned = self._warehouse.planned(self._into, partition)
        self._prove(partition, planned)
        self._planned[partition] = planned
        if planned is None:
            self._carries[partition] = self._table.carry
            return Resume(0)
        if planned.log != log:
            raise Misconfigured(_other_log(self._into, "table"))
        self._carries[partition] = _unpack(planned.carry)
        return Resume(planned.first, again=planned.next)

    def position(self, partition: int) -> int:
        planned = self._warehouse.planned(self._into, partition)
        return 0 if planned is None else planned.next

    def lacks(self, *, deep: bool = False) -> str:
        if damage := self._warehouse.damage(self._into, deep=deep):
            return damage
        return self._warehouse.lacking(self._into)

    def apply(self, log: str, partition: int, batch: Batch) -> Outcome:
        events, numbers, parked = self._decoding.events(partition, batch)
        carry = self._carries.get(partition, self._table.carry)
        rows, poison = self._rows(partition, events, numbers, batch, carry)
        block = Block(log, batch.first, batch.next, _pack(carry))
        self._warehouse.plan(self._into, partition, self._planned.get(partition), block)
        self._planned[partition] = block
        refused = self._insert(partition, block, rows.rows, batch) if rows.rows else 0
        self._carries[partition] = rows.carry
        parked += poison + refused
        return Outcome(len(rows.rows) - refused, rows.skipped, parked)

    def compact(self) -> None:
        """Nothing to do: the warehouse merges what is small by itself."""

    def retry(self, log: str, letter: DeadLetter) -> None:
        event = self._decoding.event(letter.payload)
        number = record_number(letter.partition, letter.offset)
        rows = self._table.rows([event], [number], self._table.carry).rows
        token = f"{log}:{letter.partition}:{letter.offset}:retry"
        self._warehouse.insert(self._into, _encode_lines(rows), len(rows), token)

    def _prove(self, partition: int, planned: Block | None) -> None:
        if damage := self._warehouse.damage(self._into):
            raise Damaged(self._into, damage)
        if partition in self._proved:
            return
        if ahead := ahead_of(self._warehouse, self._into, partition, planned):
            raise Damaged(self._into, ahead)
        self._proved.add(partition)

    def _rows(
        self,
        partition: int,
        events: Sequence[Event],
        numbers: Sequence[int],
        batch: Batch,
        carry: Any,
    ) -> tuple[Rows, int]:
        with suppress(Exception):  # some event is poison: find out which
            return self._table.rows(events, numbers, carry), 0
        rows: list[Row] = []
        skipped = 0

        def project(event: Event, number: int) -> None:
            nonlocal carry, skipped
            one = self._table.rows([event], [number], carry)
            rows.extend(one.rows)
            carry, skipped = one.carry, skipped + one.skipped

        parked = self._decoding.isolate(partition, events, numbers, batch, project)
        return Rows(rows, carry, skipped), parked

    def _insert(self, partition: int, block: Block, rows: Sequence[Row], batch: Batch) -> int:
        """Insert; when the engine refuses the rows, halve until the refused one stands alone."""
        token = f"{block.log}:{partition}:{block.first}-{block.next}"
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
            payload = dict(zip(batch.offsets, batch.payloads, strict=True)).get(offset, b"")
            self._decoding.park(partition, offset, payload, "refused", error)
            return 1
        refused = 0
        middle = (low + high) // 2
        for part in ((low, middle), (middle, high)):
            chunk = rows[part[0] : part[1]]
            name = f"{token}/{part[0]}-{part[1]}"
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
        self._decoding: _Decoding[Any] = _Decoding(replace(fold, space=self._into), stores)
        self._added: Counter[bytes] = Counter()
        self._positions: dict[int, Position | None] = {}

    def resume(self, log: str, partition: int) -> Resume:
        position = self._stores.state.position(self._into, partition)
        self._positions[partition] = position
        if position is None:
            return Resume(0)
        if position.log != log:
            raise Misconfigured(_other_log(self._into, "space"))
        if position.version != self._fold.version:
            raise Misconfigured(
                f"{self._into} was filled by version {position.version} of its projection, and "
                f"this is {self._fold.version}; run `penstock rebuild {self._into} --from-scratch`"
            )
        return Resume(position.next)

    def position(self, partition: int) -> int:
        position = self._stores.state.position(self._into, partition)
        return 0 if position is None else position.next

    def lacks(self, *, deep: bool = False) -> str:
        del deep
        return self._stores.state.lacking(self._into)

    def apply(self, log: str, partition: int, batch: Batch) -> Outcome:
        events, numbers, parked = self._decoding.events(partition, batch)
        try:
            entries = self._fold.entries(events, numbers)
        except Exception:  # noqa: BLE001 - some event is poison: find out which
            found: list[Entry] = []
            parked += self._decoding.isolate(
                partition, events, numbers, batch,
                lambda event, number: found.extend(self._fold.entries([event], [number])),
            )  # fmt: skip
            entries = found
        position = Position(log, batch.next, self._fold.version)
        self._stores.state.apply(
            self._into,
            entries,
            partition=partition,
            was=self._positions.get(partition),
            position=position,
            trims=self._trims(entries) if self._fold.keep else (),
        )
        self._positions[partition] = position
        return Outcome(len(entries), 0, parked)

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


def _numbers(partition: int, offsets: Sequence[int]) -> Sequence[int]:
    if partition == 0:
        return offsets
    return [record_number(partition, offset) for offset in offsets]


def _other_log(name: str, kind: str) -> str:
    return (
        f"the {kind} {name} was filled from another log; if the log was replaced on purpose, "
        f"run `penstock rebuild {name} --from-scratch`"
    )
