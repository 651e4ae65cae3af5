"""Why a projection knows what it knows of a key: its state, and the records that made it."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from typing import Any

import msgspec

from penstock.core.errors import Rejected
from penstock.core.events import Undecodable
from penstock.core.events.shown import shown
from penstock.core.log import NO_REPEATS, Batch, Follow, record_number
from penstock.core.projection import Fold, Index, Projection, Record, Table, parts
from penstock.core.projection.due import Table as Due
from penstock.core.projection.due import bare, is_framed, table_of
from penstock.core.projection.expiry import lasting
from penstock.core.projection.stepping import Stepper
from penstock.core.projection.stores import Stores
from penstock.core.projects import key_of, own_key

_AT_ONCE = 5_000
_ENTRIES_COUNTED = 10_000

Progress = Callable[[int, int], None]
"""Records done, records in all."""


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    projection: str
    key: str
    project: str
    limit: int
    """Records to show at most."""


class Waits(msgspec.Struct, frozen=True):
    """What is due of a key."""

    name: str
    at_ms: int
    job: str
    """Empty for a timer."""


class Heard(msgspec.Struct, frozen=True):
    """A record of the key."""

    partition: int
    offset: int
    at_ms: int
    """When the log took it."""
    event: str
    """As JSON, in the order of its fields by their names."""
    repeats: int | None = None
    """The record of the partition that its id belongs to: then it is left out."""


class Why(msgspec.Struct, frozen=True):
    projection: str
    project: str
    key: str
    state: str
    """Of a fold as JSON, of an index how many entries; empty where nothing is known of the key."""
    waits: list[Waits]
    records: list[Heard]
    """The newest of them, in the order of the log."""
    earlier: int
    """How many more there are before these."""
    such_as: str
    """A key of another record, where there is none of this one: they are spelled as the projection
    makes them.
    """
    start: dict[int, int]
    """By partition, the oldest record that the log has, where that is not the first there was: what
    was before is in the state, and cannot be told.
    """


def why(
    projection: Projection, asked: Asked, stores: Stores, log: Follow, progress: Progress
) -> Why:
    """Read all of the topic that the log has. Raise `Rejected` for a table: each of its rows names
    its record.
    """
    topic = projection.topic.name
    if isinstance(projection, Table):
        raise Rejected(
            f"{projection.name} is a table: every row names its record in log_offset; "
            f"`penstock events {topic} --from NUMBER` shows it"
        )
    group = key_of(asked.project, asked.key.encode())
    state, waiting = _known(projection, group, stores, log.partitions(topic))
    keys = _keys(projection, stores)
    read = stores.codec(projection.topic).read
    unique = stores.repeats(projection.topic)
    starts = [log.start(topic, partition) for partition in range(log.partitions(topic))]
    found: deque[Heard] = deque(maxlen=asked.limit)
    count, other = 0, b""
    for partition, batch in _batches(log, topic, starts, progress):
        repeats = unique.told(partition, batch.first, batch.next) if unique else NO_REPEATS
        mine, seen = _of(batch._replace(repeats=repeats), partition, read, keys, group)
        found.extend(mine)
        count, other = count + len(mine), seen or other
    return Why(
        projection.name,
        asked.project,
        asked.key,
        state,
        [Waits(name, one.at_ms, one.job) for name, one in sorted(waiting.items())],
        list(found),
        count - len(found),
        "" if found else other.decode(errors="backslashreplace"),
        {partition: start for partition, start in enumerate(starts) if start > 0},
    )


def _batches(
    log: Follow, topic: str, starts: Sequence[int], progress: Progress
) -> Iterator[tuple[int, Batch]]:
    """Partition after partition, as far as they reach now."""
    ends = [log.end(topic, partition) for partition in range(len(starts))]
    done, total = 0, sum(ends) - sum(starts)
    with closing(log.reader()) as reader:
        for partition, end in enumerate(ends):
            at = starts[partition]
            while at < end and (batch := reader.read(topic, partition, at, _AT_ONCE)).next > at:
                yield partition, batch
                done += batch.next - at
                at = batch.next
                progress(done, total)


def _known(
    projection: Index[Any] | Fold[Any, Any], group: bytes, stores: Stores, partitions: int
) -> tuple[str, Due]:
    if isinstance(projection, Index):
        [history] = stores.state.first(projection.space, [group], _ENTRIES_COUNTED)
        more = " or more" if len(history) == _ENTRIES_COUNTED else ""
        named = "1 entry" if len(history) == 1 else f"{len(history)}{more} entries"
        return (named if history else ""), {}
    places = parts.places(projection, group, partitions)
    if projection.merge is not None:
        found = [value for value in stores.state.get_many(projection.space, places) if value]
        return (_json(parts.together(projection, found)) if found else ""), {}
    [stored] = stores.state.get_many(projection.space, places)
    value = lasting(projection, stored or b"", stores.clock.now_ms())
    state = _json(projection.read(value)) if bare(value) else ""
    return state, table_of(value) if is_framed(value) else {}


def _keys(
    projection: Index[Any] | Fold[Any, Any], stores: Stores
) -> Callable[[Record[Any]], Sequence[bytes]]:
    """Whose a record is; raises where no key can be had of it."""
    if isinstance(projection, Fold):
        of, part = Stepper(projection, stores.codec).key, parts.size(projection)
        return lambda record: [(key := of(record))[: len(key) - part]]
    entries = projection.entries
    return lambda record: [key_of(record.project, entry.group) for entry in entries([record])]


def _of(
    batch: Batch,
    partition: int,
    read: Callable[[bytes], tuple[str, Any]],
    keys: Callable[[Record[Any]], Sequence[bytes]],
    group: bytes,
) -> tuple[list[Heard], bytes]:
    """The records of a key, and another key if there is one."""
    found, other = [], b""
    for offset, at_ms, payload in zip(batch.offsets, batch.times_ms, batch.payloads, strict=True):
        with suppress(Undecodable):
            project, event = read(payload)
            record = Record(record_number(partition, offset), project, at_ms, event)
            with suppress(Exception):  # whatever it raises at, it is a dead letter and no record
                theirs = keys(record)
                if group in theirs:
                    repeats = batch.repeats.get(offset)
                    found.append(Heard(partition, offset, at_ms, _json(event), repeats))
                elif theirs:
                    other = own_key(project, theirs[0])
    return found, other


def _json(struct: msgspec.Struct) -> str:
    tag = struct.__struct_config__.tag
    named = {"type": tag} if tag is not None else {}
    return msgspec.json.encode({**named, **shown(struct)}).decode()
