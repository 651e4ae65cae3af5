"""Parts: whether all of a table is in use, and can be read.

An engine puts a part aside that it cannot load, and goes on without its rows. What it finds damaged
later, when it reads or merges, it says to who asked, and tries again for ever where nobody did. So
this asks:

- parts that are there twice: no two hold the same bytes, for each row has the number of its record;
- parts put aside, with the engine's reason; where replicas copy each other, parts that none has;
- in a folder of our own, parts whose files are not those that they were, and, where the engine met
  a damage anywhere or the whole is to be read, those that it says are broken.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from penstock.core.warehouse import Row, Unavailable, Value
from penstock.core.warehouse.cluster import Layout

OWN = ("penstock_blocks", "penstock_counts", "penstock_columns", "penstock_deletions")
"""What we write down for ourselves. A part of it that cannot be read is better put aside: rows then
are ahead of their plans, which is noticed, are counted anew, or have a column that nobody knows."""
_HARMLESS = "('', 'ignored', 'clone', 'attaching', 'deleting', 'tmp-fetch', 'covered-by-broken')"
"""Reasons why a part is out of use that take no row away. Without one, somebody detached it."""
_DAMAGE = frozenset({3, 32, 33, 40, 107, 226, 228, 246, 271, 432, 740})
"""ClickHouse error codes of a file that is not what it was; some of them mean other things too."""
_GONE = 232
"""There is no such part: it has been merged into another one meanwhile."""

Signature = frozenset[tuple[str, int]]
"""Names and sizes of a part's files, which never change."""


class Parts:
    def __init__(
        self,
        ask: Callable[[str, Mapping[str, Value]], list[Row]],
        layout: Layout,
        folder: Path | None,
    ) -> None:
        """`folder`: where an engine lives that no other process has."""
        self._ask = ask
        self._layout = layout
        self._folder = folder
        self._seen: dict[str, dict[str, Signature]] = {}
        """By table and folder: one that was made anew has parts of the same names elsewhere."""
        self._broken: dict[str, str] = {}
        """Folders of parts that could not be read, and what was said of them."""
        self._met: dict[str, int] = {}
        """How often the engine had met a damage when that was asked last for a table."""

    def damage(self, table: str, *, deep: bool = False) -> str:
        """What of the table is lost or damaged, in words; empty when all is well.

        `deep` reads everything that lies in a folder of ours. Raise `Unavailable`.
        """
        if self._layout.replicated:
            return self._lost(table)
        if aside := self._aside(table):
            return aside
        if self._folder is None:
            return ""
        if twice := self._twice(table):
            return twice
        if changed := self._changed(table):
            return changed
        broken = self.unreadable(table, deep=deep)
        return next((f"the part {name} cannot be read: {broken[name]}" for name in broken), "")

    def unreadable(self, table: str, *, deep: bool = False) -> dict[str, str]:
        """Parts in a folder of ours that are damaged, and what of them, as far as that is known.

        They are read when the engine has met a damage since the last time, of whatever table. That
        is how what it does by itself is heard of: it tries again and again to merge a damaged
        part, at the price of a core, and tells nobody.
        """
        active = self._active(table)
        met = self._damages_met()
        if deep or met != self._met.get(table, 0):
            self._met[table] = met
            for name, folder in active.items():
                if said := self._said(table, name):
                    self._broken[folder] = said
        return {name: self._broken[at] for name, at in active.items() if at in self._broken}

    def _of(self, table: str) -> dict[str, Value]:
        return {"database": self._layout.database, "table": self._layout.local(table)}

    def _lost(self, table: str) -> str:
        """A replica fetches what it lacks, unless it is lost everywhere."""
        rows = self._ask(
            f"SELECT sum(lost_part_count) FROM {self._layout.system('replicas')} "
            "WHERE database = {database:String} AND table = {table:String}",
            self._of(table),
        )
        lost = int(str(rows[0][0] or 0))
        return f"{lost} parts are lost on all replicas" if lost else ""

    def _aside(self, table: str) -> str:
        rows = self._ask(
            f"SELECT name, reason FROM {self._layout.system('detached_parts')} "
            "WHERE database = {database:String} AND table = {table:String} "
            f"AND reason NOT IN {_HARMLESS} ORDER BY name",
            self._of(table),
        )
        if not rows:
            return ""
        name, why = rows[0]
        return f"{len(rows)} parts are out of use, such as {name} ({why})"

    def _twice(self, table: str) -> str:
        """An engine takes whatever part lies in its folder, a copy of another one too. Those that
        a deletion has left empty are all alike, and what replaces itself may be there twice.
        """
        rows = self._ask(
            "SELECT min(name), max(name) FROM system.parts WHERE active AND rows > 0 "
            "AND database = {database:String} AND table = {table:String} "
            "AND engine NOT LIKE '%Replacing%' "
            "GROUP BY hash_of_all_files HAVING count() > 1",
            self._of(table),
        )
        return f"the part {rows[0][0]} is there twice, as {rows[0][1]}" if rows else ""

    def _active(self, table: str) -> dict[str, str]:
        """Names and folders."""
        rows = self._ask(
            "SELECT name, path FROM system.parts WHERE active AND database = {database:String} "
            "AND table = {table:String}",
            self._of(table),
        )
        return {str(name): str(path) for name, path in rows}

    def _changed(self, table: str) -> str:
        """Files of a part never change; where they did, it was not the engine."""
        known, active = self._seen.get(table, {}), self._active(table)
        found = {folder: _signature(folder) for folder in active.values()}
        seen = self._seen[table] = {folder: known.get(folder, found[folder]) for folder in found}
        suspects = {
            folder for folder in found if not found[folder] or found[folder] != seen[folder]
        }
        # What was merged away in between has lost its files as it should.
        changed = suspects and suspects & set(self._active(table).values())
        if not changed:
            return ""
        name = min(name for name, folder in active.items() if folder in changed)
        return f"{len(changed)} parts have lost files or some of their bytes, such as {name}"

    def _damages_met(self) -> int:
        codes = ", ".join(map(str, sorted(_DAMAGE)))
        rows = self._ask(f"SELECT sum(value) FROM system.errors WHERE code IN ({codes})", {})
        return int(str(rows[0][0] or 0))

    def _said(self, table: str, part: str) -> str:
        check = f"CHECK TABLE {self._layout.local(table)} PART '{part}'"
        try:
            rows = self._ask(f"{check} SETTINGS check_query_single_value_result = 1", {})
        except Unavailable as error:
            code = getattr(error.__cause__, "code", None)
            if code == _GONE:
                return ""
            if code in _DAMAGE:
                return "its files are damaged"
            raise
        return "" if rows and rows[0][0] else "its checksums do not match"


def _signature(folder: str) -> Signature:
    """Nothing when the folder, or a file while it was looked at, is not there."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(
                (entry.name, entry.stat().st_size) for entry in entries if entry.is_file()
            )
    except OSError:
        return frozenset()
