"""What there is of a read model, held against what was built anew: differences, and losses.

They differ where the projection changed, which is what one rebuilds for. Something is *lost* where
what was built has less: fewer rows or entries, or a part of the log behind it that the other had.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby, islice
from typing import Any

from penstock.core.errors import Damaged
from penstock.core.log import Damage
from penstock.core.position import Position, is_of
from penstock.core.projection import Fold, Index, Mirror, Table
from penstock.core.projection.dead_letters import DeadLetter
from penstock.core.projection.expiry import lasting
from penstock.core.state import History, State
from penstock.core.warehouse import Unavailable, Warehouse

_DIFFERENCES_SHOWN = 5
_GROUPS_COMPARED = 1_000
_EVERYTHING = 1 << 31


def table_differences(
    table: Table[Any], warehouse: Warehouse, shadow: str, uncovered: Collection[str] = ()
) -> list[str]:
    """Partitions whose rows differ, by count and by a sum of hashes that ignores their order; but
    for those that the log does not cover. Of what a table says of its comparison, the first rows
    that only one has.
    """
    if table.compared:
        return _unlike(table, warehouse, shadow)
    # By name: a column that was added later stands last in one of the two.
    columns = ", ".join(table.columns)

    def summary(name: str) -> dict[str, tuple[object, ...]]:
        retained = table.retained.format(table=name)
        rows = warehouse.query(
            f"SELECT _partition_id, count(), sum(cityHash64({columns})) FROM {name} "
            f"WHERE {retained} GROUP BY _partition_id",
            {},
        )
        return {str(row[0]): row[1:] for row in rows}

    live, rebuilt = summary(table.table), summary(shadow)
    different = [
        f"partition {key}: {live.get(key, (0,))[0]} rows live, {rebuilt.get(key, (0,))[0]} rebuilt"
        for key in sorted((live.keys() | rebuilt.keys()) - {*uncovered})
        if live.get(key) != rebuilt.get(key)
    ]
    return _first_few(different)


def _unlike(table: Table[Any], warehouse: Warehouse, shadow: str) -> list[str]:
    live, rebuilt = (table.compared.format(table=name) for name in (table.table, shadow))
    return _apart(warehouse, live, rebuilt)


def mirror_differences(mirror: Mirror[Any], warehouse: Warehouse, shadow: str) -> list[str]:
    """Keys whose rows differ, but for the records that they are of."""
    columns = ", ".join(("project", "key", *mirror.columns.__struct_fields__))
    live, rebuilt = (f"SELECT {columns} FROM {name} FINAL" for name in (mirror.table, shadow))
    return [f"{mirror.table}: {one}" for one in _apart(warehouse, live, rebuilt)]


def _apart(warehouse: Warehouse, live: str, rebuilt: str) -> list[str]:
    """Rows that only one of both queries has."""
    return _first_few(
        [
            f"only {where}: {', '.join(map(str, row))}"
            for where, one, other in (("live", live, rebuilt), ("rebuilt", rebuilt, live))
            for row in warehouse.query(
                f"SELECT * FROM ({one} EXCEPT {other}) ORDER BY ALL LIMIT {_DIFFERENCES_SHOWN + 1}",
                {},
            )
        ]
    )


def entry_differences(
    view: Index[Any] | Fold[Any, Any], state: State, shadow: str, now_ms: int = 0
) -> list[str]:
    """Groups of the live space whose history is another in the shadow, and how many there are. What
    has expired by now may be in either, and is in none.
    """
    keep = view.keep or None
    different: list[str] = []
    live = 0
    for chunk in _chunks(_lasting(view, _readable(state, view.space), now_ms)):
        live += len(chunk)
        found = state.first(shadow, [group for group, _ in chunk], keep or _EVERYTHING)
        rebuilt = [_left(view, history, now_ms) for history in found]
        different += [
            f"group {group.decode(errors='replace')!r}: {len(history[:keep])} entries live, "
            f"{len(other)} rebuilt"
            for (group, history), other in zip(chunk, rebuilt, strict=True)
            if history[:keep] != other
        ]
    there = _lasting(view, _groups(state, shadow), now_ms)
    if live != (rebuilt_groups := sum(1 for _ in there)):
        different.append(f"{live} groups live, {rebuilt_groups} rebuilt")
    return _first_few(different)


def fewer_rows(
    table: Table[Any],
    warehouse: Warehouse,
    shadow: str,
    uncovered: Collection[str] = (),
    *,
    given_up: int,
) -> list[str]:
    """Of what the new one retains, partition by partition: what is older was to go anyway, and
    what is `uncovered` stays. As many as were `given_up` are none that are lost.
    """
    if table.compared:
        return _fewer_keys(table, warehouse, shadow, given_up=given_up)

    def counted(name: str, condition: str) -> dict[str, int]:
        rows = warehouse.query(
            f"SELECT _partition_id, count() FROM {name} WHERE {condition} GROUP BY _partition_id",
            {},
        )
        return {str(key): int(str(count)) for key, count in rows}

    retained = table.retained.format(table=shadow)
    rebuilt = counted(shadow, retained)
    try:
        live = counted(table.table, retained)
    except Unavailable:  # its columns are others: then all that is there is
        live, rebuilt = counted(table.table, "1"), counted(shadow, "1")
    fewer = {
        key: count - rebuilt.get(key, 0)
        for key, count in sorted(live.items())
        if rebuilt.get(key, 0) < count and key not in uncovered
    }
    if sum(fewer.values()) <= given_up:
        return []
    return _first_few(
        [f"partition {key}: {live[key]} rows live, {rebuilt.get(key, 0)} rebuilt" for key in fewer]
    )


def _fewer_keys(
    table: Table[Any], warehouse: Warehouse, shadow: str, *, given_up: int
) -> list[str]:
    live, rebuilt = (
        int(str(warehouse.query(f"SELECT count() FROM ({compared})", {})[0][0]))
        for compared in (table.compared.format(table=name) for name in (table.table, shadow))
    )
    lost = rebuilt + given_up < live
    return [f"{live} compared rows live, {rebuilt} rebuilt"] if lost else []


def fewer_entries(
    view: Index[Any] | Fold[Any, Any], state: State, shadow: str, *, given_up: int, now_ms: int = 0
) -> list[str]:
    """Groups, and the entries of all of them that matter, but for those `given_up`. What cannot be
    read of what there is counts for nothing: no swap loses it.
    """

    def counted(histories: Iterator[tuple[bytes, History]]) -> tuple[int, int]:
        groups = entries = 0
        for _, history in histories:
            groups += 1
            entries += min(len(history), view.keep or _EVERYTHING)
        return groups, entries

    groups = (_readable(state, view.space), _groups(state, shadow))
    there, built = (counted(_lasting(view, of, now_ms)) for of in groups)
    pairs = zip(("groups", "entries"), there, built, strict=True)
    return [
        f"{live} {of} live, {rebuilt} rebuilt"
        for of, live, rebuilt in pairs
        if rebuilt + given_up < live
    ]


def shorter(log: str, live: Mapping[int, Position | None], reached: Mapping[int, int]) -> list[str]:
    """Partitions in which the live one has come further in this very log."""
    return [
        f"partition {partition} of the log ends at {reached[partition]}, and what there is has the "
        f"records before {position.next}"
        for partition, position in sorted(live.items())
        if position is not None and is_of(position.log, log) and reached[partition] < position.next
    ]


def newly_damaged(live: Sequence[DeadLetter], rebuilt: Sequence[DeadLetter]) -> list[str]:
    """Ranges of the log that could be read for the one there is, and now cannot."""

    def ranges(letters: Sequence[DeadLetter], partition: int) -> list[Damage]:
        return sorted(
            Damage(letter.offset, letter.next, letter.reason)
            for letter in letters
            if letter.code == "damaged" and letter.partition == partition
        )

    lost = [
        f"records {first} to {following - 1} of partition {partition} are damaged in the log, and "
        "were not when what there is was made"
        for partition in sorted({letter.partition for letter in rebuilt})
        for first, following in _without(ranges(rebuilt, partition), ranges(live, partition))
    ]
    return _first_few(lost)


def _without(ranges: Sequence[Damage], known: Sequence[Damage]) -> Iterator[tuple[int, int]]:
    """What of the ranges is in none of the known ones; both ascend."""
    for first, following, _ in ranges:
        at = first
        for other in known:
            if other.next <= at or other.first >= following:
                continue
            if other.first > at:
                yield at, other.first
            at = max(at, other.next)
        if at < following:
            yield at, following


def _groups(state: State, space: str) -> Iterator[tuple[bytes, History]]:
    """But for the one without a name: an index of the others."""
    for group, entries in groupby(state.scan(space), key=lambda entry: entry.group):
        if not group:
            continue
        yield group, [(entry.sort, entry.value) for entry in entries]


def _lasting(
    view: Index[Any] | Fold[Any, Any], groups: Iterator[tuple[bytes, History]], now_ms: int
) -> Iterator[tuple[bytes, History]]:
    for group, history in groups:
        if left := _left(view, history, now_ms):
            yield group, left


def _left(view: Index[Any] | Fold[Any, Any], history: History, now_ms: int) -> History:
    """What has not expired."""
    if not isinstance(view, Fold) or view.expires is None:
        return history
    found = [(sort, _left_of(view, value, now_ms)) for sort, value in history]
    return [one for one in found if one[1]]


def _left_of(fold: Fold[Any, Any], value: bytes, now_ms: int) -> bytes:
    try:
        return lasting(fold, value, now_ms)
    except Exception:  # noqa: BLE001 - it is of another version, or `expires` cannot bear it
        return value


def _readable(state: State, space: str) -> Iterator[tuple[bytes, History]]:
    """The same, up to a damage: that is what a rebuild is for."""
    with suppress(Damaged):
        yield from _groups(state, space)


def _chunks(groups: Iterator[tuple[bytes, History]]) -> Iterator[list[tuple[bytes, History]]]:
    while chunk := list(islice(groups, _GROUPS_COMPARED)):
        yield chunk


def _first_few(differences: list[str]) -> list[str]:
    more = len(differences) - _DIFFERENCES_SHOWN
    return differences[:_DIFFERENCES_SHOWN] + ([f"and {more} more"] if more > 0 else [])
