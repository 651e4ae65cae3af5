"""Which records of a topic repeat an earlier one: decided once, for all its projections, for ever.

Whoever comes first to a record asks whose its id is, and writes down what came of it, together with
how far the topic was asked: one atomic write of the state, before any projection moves. Whoever
comes later, a rebuild among them, reads what is written. So no two projections ever differ in it,
and what a state loses is decided again from there, as it was: nothing but the log is asked.

What the space of a topic has of each of its partitions:

- `d`, partition, begin, end: a span of time; by id, the record of that time that it belongs to
- `r`, partition, chunk: of so many records, by offset, those that repeat one, and which
- `s`, partition: the spans that there are; and the first chunk that there may be

A span goes whole when its time has long passed, a chunk when the log has forgotten its records.
"""

import struct
import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any, NamedTuple

from penstock.core.clock import Clock
from penstock.core.errors import Disproved, Moved, NotReady
from penstock.core.events import Codec, Undecodable
from penstock.core.log import Batch, Follow, record_numbers
from penstock.core.position import Position, is_of
from penstock.core.projection import Record, Topic
from penstock.core.projection.expiry import GRACE_MS
from penstock.core.projection.ids import Held, Named, id_of, judged
from penstock.core.state import OURS, Entry, Place, State, Trim

SPACES = f"{OURS}unique."
_HOUR_MS = 3_600_000
_SPAN_MS = 24 * _HOUR_MS
"""At least; where ids are known for longer it is as long as that, so that two are asked."""
_CHUNK = 4_096
_READ_RECORDS = 10_000
_PORTION_RECORDS = 50_000
_FORGET_SECONDS = 10.0
_FORGOTTEN_AT_ONCE = 1_000
_SPANS_MAX = 100_000
_HELD = struct.Struct(">Qq")
_SPAN = struct.Struct(">qq")
_CHUNKS = b"r"


class Span(NamedTuple):
    begin_ms: int
    end_ms: int


class _Known:
    """Of one partition, as the state has it."""

    def __init__(self, position: Position | None, start: int) -> None:
        self.position = position
        self.next = start if position is None else position.next
        """Of all before it is written down which are repeats."""
        self.spans: list[Span] = []
        self.over: list[Span] = []
        """They are gone, and that is not written down yet."""
        self.chunk = start // _CHUNK
        """The first that there may be."""
        self.forget_at = 0.0


class Repeats:
    """Of a topic whose records are unique by an id. For any thread, and any number of processes."""

    def __init__(self, topic: Topic[Any], state: State, codec: Codec[Any], clock: Clock) -> None:
        assert topic.unique is not None
        self._topic = topic.name
        self._unique = topic.unique
        self._lasts_ms = round(topic.unique_hours * _HOUR_MS)
        self._space = SPACES + topic.name
        self._state = state
        self._codec = codec
        self._clock = clock
        self._partitions: dict[int, _Known] = {}
        self._locks: dict[int, threading.Lock] = {}

    def forget(self, partition: int) -> None:
        """Go by the state, and compare it with the log, which may be another one."""
        self._partitions.pop(partition, None)

    def marked(self, log: Follow, partition: int, batch: Batch) -> Batch:
        """With those that are repeats. Raise `NotReady`; blocks, for long where much of the log
        before it was not asked yet: see `catch_up`.
        """
        with self._locks.setdefault(partition, threading.Lock()):
            while True:
                with suppress(Moved):
                    return self._marked(log, partition, batch)
                self.forget(partition)

    def catch_up(self, log: Follow, partition: int, until: int) -> bool:
        """Ask a portion of what is before an offset; whether there is more."""
        with self._locks.setdefault(partition, threading.Lock()):
            with suppress(Moved):
                return self._reach(log, partition, until, _PORTION_RECORDS).next < until
            self.forget(partition)
            return True

    def told(self, partition: int, first: int, following: int) -> dict[int, int | None]:
        """What is written down of a range: offsets of repeats, and of the records that they repeat;
        None where an id could not be told.
        """
        if following <= first:
            return {}
        chunks = range(first // _CHUNK, (following - 1) // _CHUNK + 1)
        groups = [_chunk(partition, number) for number in chunks]
        return {
            offset: int.from_bytes(value) if value else None
            for chunk in self._state.first(self._space, groups, _CHUNK)
            for offset, value in ((int.from_bytes(sort), value) for sort, value in chunk)
            if first <= offset < following
        }

    def holds(self, name: bytes, at_ms: int) -> bool:
        """Whether a record of this time that has this id would be a repeat, as far as the topic was
        asked. Raise `NotReady`.
        """
        for partition, known in self._partitions.copy().items():
            held = self._held(partition, known, [Named(known.next, at_ms, name)])
            if name in held and at_ms - held[name].at_ms < self._lasts_ms:
                return True
        return False

    # -- how far it is --------------------------------------------------------------------------

    def _known(self, log: Follow, partition: int) -> _Known:
        stored = self._state.position(self._space, partition)
        known = self._partitions.get(partition)
        if known is not None and known.position == stored:
            return known
        was = None if known is None else known.position
        if not (_goes_on(was, stored) or self._is_of(log, partition, stored)):
            self._state.drop(self._space)
            self._partitions.clear()
            stored = None
        known = self._partitions[partition] = self._loaded(log, partition, stored)
        return known

    def _is_of(self, log: Follow, partition: int, stored: Position | None) -> bool:
        """Whether it is nothing else than the log, as far as that says."""
        if stored is None:
            return True
        if not is_of(stored.log, log.identity(self._topic)):
            return False
        with closing(log.reader()) as reader, suppress(Disproved):
            reader.read(self._topic, partition, stored.next, 0, stored.proof)
            return True
        return False

    def _loaded(self, log: Follow, partition: int, stored: Position | None) -> _Known:
        known = _Known(stored, log.start(self._topic, partition))
        [found] = self._state.first(self._space, [_list(partition)], _SPANS_MAX)
        for sort, value in found:
            if sort == _CHUNKS:
                known.chunk = int.from_bytes(value)
            else:
                known.spans.append(Span(*_SPAN.unpack(sort)))
        return known

    def _reach(self, log: Follow, partition: int, until: int, most: int | None = None) -> _Known:
        """Ask the log itself, up to an offset or for so many records. Raise `NotReady` where it
        does not show them, and `Moved`.
        """
        known = self._known(log, partition)
        if known.next >= until:
            return known
        stop = until if most is None else min(until, known.next + most)
        with closing(log.reader()) as reader:
            while known.next < stop:
                proof = "" if known.position is None else known.position.proof
                limit = min(_READ_RECORDS, stop - known.next)
                batch = reader.read(self._topic, partition, known.next, limit, proof)
                if batch.next == batch.first:
                    raise NotReady(f"{self._topic} does not show what was read of it")
                self._take(log, partition, known, self._decoded(partition, batch))
        return known

    # -- deciding -------------------------------------------------------------------------------

    def _marked(self, log: Follow, partition: int, batch: Batch) -> Batch:
        known = self._reach(log, partition, batch.first)
        repeats = self.told(partition, batch.first, min(known.next, batch.next))
        if known.next < batch.next:
            batch = self._decoded(partition, batch)
            repeats |= self._take(log, partition, known, batch)
        return batch._replace(repeats=repeats)

    def _decoded(self, partition: int, batch: Batch) -> Batch:
        """With its records, unless one of them is no event."""
        if batch.records is None:
            with suppress(Undecodable):
                projects, events = self._codec.read_all(batch.payloads)
                numbers = record_numbers(partition, batch.offsets)
                records = list(map(Record, numbers, projects, batch.times_ms, events))
                return batch._replace(records=records)
        return batch

    def _take(
        self, log: Follow, partition: int, known: _Known, batch: Batch
    ) -> Mapping[int, int | None]:
        """Decide of what comes next, and write that down. Raise `Moved` and `NotReady`."""
        named = self._named(batch, known.next)
        repeats, firsts = judged(named, self._held(partition, known, named), self._lasts_ms)
        entries, used = self._belonging(partition, known.spans, firsts)
        entries += [_repeat(partition, *one) for one in repeats.items()]
        over = [span for span in self._over(known.spans, batch) if span not in used]
        chunk = self._first_chunk(log, partition, known)
        if known.position is None or chunk > known.chunk:
            entries.append(Entry(_list(partition), _CHUNKS, known.chunk.to_bytes(8)))
        trims = [Trim(_span(partition, span), 0) for span in over]
        trims += [Trim(_chunk(partition, one), 0) for one in range(known.chunk, chunk)]
        position = Position(log.identity(self._topic), batch.next, 0, batch.proof)
        self._state.apply(
            self._space,
            entries,
            partition=partition,
            was=known.position,
            position=position,
            # Trims follow the write: what is gone for certain is what was trimmed with the last.
            deletes=[self._listed(partition, span) for span in known.over if span not in used],
            trims=trims,
        )
        known.position, known.next, known.chunk = position, batch.next, chunk
        known.spans = [span for span in {*known.spans, *used} if span not in over]
        known.over = over
        return repeats

    def _named(self, batch: Batch, since: int) -> list[Named]:
        """The records from an offset on that are events, by their ids."""
        unique, found = self._unique, list[Named]()
        at = bisect_left(batch.offsets, since)
        offsets, times = batch.offsets[at:], batch.times_ms[at:]
        events: Iterable[tuple[str, Any] | None]
        if batch.records is None:
            events = map(self._read, batch.payloads[at:])
        else:
            events = ((record.project, record.event) for record in batch.records[at:])
        for offset, at_ms, event in zip(offsets, times, events, strict=True):
            if event is None:
                continue
            try:
                found.append(Named(offset, at_ms, id_of(unique, *event)))
            except Exception:  # noqa: BLE001 - whatever it raises, the projections say so
                found.append(Named(offset, at_ms, None))
        return found

    def _read(self, payload: bytes) -> tuple[str, Any] | None:
        try:
            return self._codec.read(payload)
        except Undecodable:
            return None

    def _held(self, partition: int, known: _Known, named: Sequence[Named]) -> dict[bytes, Held]:
        """Whose these ids are, as far as that matters."""
        ids = list({one.id for one in named if one.id})
        from_ms = min((one.at_ms for one in named), default=0) - self._lasts_ms
        groups = [_span(partition, span) for span in known.spans if span.end_ms > from_ms]
        held: dict[bytes, Held] = {}
        for values in self._state.values(self._space, groups, ids) if ids else ():
            for name, value in zip(ids, values, strict=True):
                if value is not None:
                    one = Held(*_HELD.unpack(value))
                    if one.offset < known.next and (name not in held or held[name] < one):
                        held[name] = one
        return held

    def _belonging(
        self, partition: int, spans: Sequence[Span], firsts: Sequence[Named]
    ) -> tuple[list[Entry], set[Span]]:
        """Entries of these, and the spans that they are in, which there are from now on."""
        entries, used, span, group = list[Entry](), set[Span](), Span(0, 0), b""
        for offset, at_ms, name in firsts:
            if not span.begin_ms <= at_ms < span.end_ms:
                span = self._span_of([*spans, *used], at_ms)
                group = _span(partition, span)
                used.add(span)
            entries.append(Entry(group, name or b"", _HELD.pack(offset, at_ms)))
        new = [self._listed(partition, span) for span in used.difference(spans)]
        return [*entries, *(Entry(place.group, place.sort, b"") for place in new)], used

    def _span_of(self, spans: Iterable[Span], at_ms: int) -> Span:
        for span in spans:
            if span.begin_ms <= at_ms < span.end_ms:
                return span
        length = max(_SPAN_MS, self._lasts_ms)
        begin_ms = at_ms // length * length
        return Span(begin_ms, begin_ms + length)

    def _listed(self, partition: int, span: Span) -> Place:
        return Place(self._space, _list(partition), _SPAN.pack(*span))

    def _over(self, spans: Iterable[Span], batch: Batch) -> list[Span]:
        """What belongs to nobody any more by the last record and by the clock both; and by then no
        record comes whose time is before that, though a clock was wrong for a while.
        """
        times = batch.times_ms
        now_ms = min(times[-1], self._clock.now_ms()) if times else 0
        return [span for span in spans if span.end_ms + self._lasts_ms + GRACE_MS <= now_ms]

    def _first_chunk(self, log: Follow, partition: int, known: _Known) -> int:
        """The first that is to be kept from now on."""
        now = self._clock.monotonic()
        if now < known.forget_at:
            return known.chunk
        known.forget_at = now + _FORGET_SECONDS
        wanted = log.start(self._topic, partition) // _CHUNK
        return max(known.chunk, min(wanted, known.chunk + _FORGOTTEN_AT_ONCE))


def _goes_on(was: Position | None, stored: Position | None) -> bool:
    """Whether somebody else went on from what was compared with the log."""
    if was is None or stored is None:
        return False
    return was.log == stored.log and was.next < stored.next


def _repeat(partition: int, offset: int, of: int | None) -> Entry:
    value = b"" if of is None else of.to_bytes(8)
    return Entry(_chunk(partition, offset // _CHUNK), offset.to_bytes(8), value)


def _span(partition: int, span: Span) -> bytes:
    return b"d" + partition.to_bytes(2) + _SPAN.pack(*span)


def _chunk(partition: int, number: int) -> bytes:
    return b"r" + partition.to_bytes(2) + number.to_bytes(8)


def _list(partition: int) -> bytes:
    return b"s" + partition.to_bytes(2)
