"""Columns: what a declaration has that an older table lacks, and what it lacks that one has.

A column with a default is added to the table as it is. That is written down, so that a version
which does not write the column yet takes the table for its own, and leaves it to the default.
Anything else that differs takes a rebuild.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from penstock.core.errors import Misconfigured
from penstock.core.warehouse import Differences, Row, Value, Warehouse
from penstock.core.warehouse.cluster import Layout

COLUMNS = """-- shard by: cityHash64(contents, name)
CREATE TABLE IF NOT EXISTS penstock_columns (
  contents String, name String, at DateTime('UTC') DEFAULT now()
) ENGINE = ReplacingMergeTree ORDER BY (contents, name)"""
_BEGINNING = re.compile(r"\bCREATE TABLE(?: IF NOT EXISTS)? \w+\s*\(")
_PUNCTUATION = re.compile(r"'(?:[^'\\]|\\.)*'|[(),]")
"""Or a text in quotes, which has none."""
_NO_COLUMN = re.compile(r"(?:INDEX|CONSTRAINT|PROJECTION|PRIMARY KEY)\b", re.IGNORECASE)


class Column(NamedTuple):
    name: str
    kind: str
    default: str
    """An expression, or empty."""
    codec: str

    @property
    def declaration(self) -> str:
        codec = f" CODEC({self.codec})" if self.codec else ""
        return f"{self.name} {self.kind} DEFAULT {self.default}{codec}"


class Columns:
    def __init__(
        self,
        query: Callable[[str, Mapping[str, Value]], list[Row]],
        command: Callable[[str], None],
        layout: Layout,
    ) -> None:
        self._query = query
        self._command = command
        self._layout = layout

    def add(self, declaration: str, contents: Callable[[str], str]) -> list[str]:
        """To the table, what it lacks of the declaration and has a default; what was done."""
        table = self._layout.name(declaration)
        found, lacking = self._found(table), []
        if found:
            lacking = [c for c in self._declared(declaration) if c.name not in found and c.default]
        for column in lacking:
            # First the note: without a column it says nothing, and a column without it is foreign.
            note = f"('{contents(table)}', '{column.name}')"
            self._command(f"INSERT INTO penstock_columns (contents, name) VALUES {note}")
            for name in dict.fromkeys((self._layout.local(table), table)):
                self._command(self._layout.add_column(name, column.declaration))
        return [f"{table}.{c.name} was added: {c.default} until a rebuild" for c in lacking]

    def differences(self, declaration: str, contents: Callable[[str], str]) -> Differences | None:
        """None where there is no such table."""
        table = self._layout.name(declaration)
        found = self._found(table)
        if not found:
            return None
        declared = {column.name: column for column in self._declared(declaration)}
        lacking = [column for name, column in declared.items() if name not in found]
        more = found.keys() - declared.keys()
        return Differences(
            addable=[column.name for column in lacking if column.default],
            others=[
                *(f"{column.name} is not there" for column in lacking if not column.default),
                *(
                    f"{name} is {kind} and not {declared[name].kind}"
                    for name, kind in found.items()
                    if name in declared and declared[name].kind != kind
                ),
                *(
                    f"{name} is there"
                    for name in sorted(more - (self._added(contents(table)) if more else set()))
                ),
            ],
        )

    def _found(self, table: str) -> dict[str, str]:
        rows = self._query(
            "SELECT name, type FROM system.columns WHERE database = currentDatabase() "
            "AND table = {table:String} ORDER BY position",
            {"table": table},
        )
        return {str(name): str(kind) for name, kind in rows}

    def _declared(self, declaration: str) -> list[Column]:
        """As the engine itself understands it."""
        structure = ", ".join(columns_of(declaration))
        if not structure:  # of a view
            return []
        rows = self._query("DESCRIBE TABLE null({structure:String})", {"structure": structure})
        return [
            Column(str(name), str(kind), str(default), str(codec))
            for name, kind, _, default, _, codec, *_ in rows
        ]

    def _added(self, contents: str) -> set[str]:
        rows = self._query(
            "SELECT DISTINCT name FROM penstock_columns WHERE contents = {contents:String}",
            {"contents": contents},
        )
        return {str(name) for (name,) in rows}


def check_table(
    warehouse: Warehouse, declaration: str, table: str, columns: Collection[str], *, rebuilt: str
) -> None:
    """That it has the columns that its declaration says, and its rows fill. Raise `Misconfigured`,
    which names the projection that is to be `rebuilt`.
    """
    named = [column.split()[0] for column in columns_of(declaration)]
    if {*named} != {*columns}:
        raise Misconfigured(
            f"tables.sql gives {table} the columns {', '.join(named)}, and its rows have "
            f"{', '.join(columns)}"
        )
    found = warehouse.differences(declaration)
    if found is None:
        raise Misconfigured(f"PENSTOCK_WAREHOUSE has no table {table}; run `penstock migrate`")
    if found.others:
        raise Misconfigured(
            f"the table {table} is of another version: {', '.join(found.others)}. Run "
            f"`penstock rebuild {rebuilt} --from-scratch`"
        )
    if found.addable:
        raise Misconfigured(
            f"the table {table} lacks {', '.join(found.addable)}; run `penstock migrate`"
        )


def columns_of(declaration: str) -> Sequence[str]:
    """What stands between the brackets of a table's declaration, column by column. Pure."""
    found = _BEGINNING.search(declaration)
    if found is None:
        return []
    texts = (text.strip() for text in _listed(declaration[found.end() :]))
    return [text for text in texts if text and not _NO_COLUMN.match(text)]


def _listed(text: str) -> Iterator[str]:
    """Up to the bracket that closes it, at the commas outside of brackets and quotes."""
    depth = begin = 0
    for found in _PUNCTUATION.finditer(text):
        mark, at = found[0], found.start()
        if mark == "(":
            depth += 1
        elif mark == "," and depth == 0:
            yield text[begin:at]
            begin = at + 1
        elif mark == ")":
            if depth == 0:
                yield text[begin:at]
                return
            depth -= 1
