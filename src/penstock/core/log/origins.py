"""Origins in the file of the log: what was made from a record once is not stored again.

The last number that a topic took from a partition of a source stands in the transaction that stores
what it took. So a crash leaves both or neither, and of two that both believe a partition is theirs,
the later one adds nothing. One row for each such partition, for ever.
"""

from bisect import bisect_right
from collections.abc import Iterable

import apsw

from penstock.core.log import Append, Origin

_Place = tuple[int, str, int]
_LAST = "SELECT number FROM origins WHERE topic = ? AND source = ? AND partition = ?"


class Origins:
    """What one transaction takes of origins. `close` it before it is committed."""

    __slots__ = ("_connection", "_last", "_taken")

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._last: dict[_Place, int] = {}
        self._taken: set[_Place] = set()

    def fresh(self, topic_id: int, append: Append, origin: Origin) -> Append:
        """The append without what the topic took before; the rest is taken with this."""
        place = (topic_id, origin.source, origin.partition)
        had = bisect_right(origin.numbers, self._known(place))
        if had < len(append.payloads):
            self._last[place] = origin.numbers[-1]
            self._taken.add(place)
        return append._replace(payloads=append.payloads[had:], keys=append.keys[had:])

    def close(self) -> None:
        """Write down what was taken."""
        rows = [(*place, self._last[place]) for place in self._taken]
        if rows:
            self._connection.executemany("INSERT OR REPLACE INTO origins VALUES (?, ?, ?, ?)", rows)

    def _known(self, place: _Place) -> int:
        last = self._last.get(place)
        if last is None:
            found = self._connection.execute(_LAST, place).get
            last = self._last[place] = -1 if found is None else int(str(found))
        return last


def rows(connection: apsw.Connection) -> Iterable[tuple[object, ...]]:
    """All of a file, also of one that is older than origins; with the names of their topics."""
    run = connection.execute
    if run("SELECT 1 FROM sqlite_schema WHERE name = 'origins'").get is None:
        return ()
    return run(
        "SELECT name, source, partition, number FROM origins JOIN topics ON topics.id = topic"
    )


def insert(connection: apsw.Connection, row: tuple[object, ...]) -> None:
    """One of another file's, if its topic is known."""
    name, *rest = row
    connection.execute(
        "INSERT OR REPLACE INTO origins SELECT id, ?, ?, ? FROM topics WHERE name = ?",
        (*rest, name),
    )
