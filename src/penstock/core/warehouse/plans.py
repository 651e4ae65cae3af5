"""Plans: which block is about to go into a table, written down before it does.

Of two processes that carry one partition, because one has taken it over and the other does not know
yet, only one may go on from a block. A process that is alone with its engine knows what it planned
last. On a server a plan goes in under a token that names the block it follows, so that of two that
follow the same one the engine keeps the first, and each process then looks whose it was. A look at
a replica that lags behind finds no plan, never a wrong one, and is repeated.

What remains: a process that slept between its plan and its insert for as long as the table's window
of known blocks reaches would insert what others have inserted for it.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from penstock.core.errors import Moved
from penstock.core.warehouse import Block, Row, Unavailable, Value
from penstock.core.warehouse.sql import quoted

_DECLARATION = """-- shard by: cityHash64(contents, partition)
CREATE TABLE IF NOT EXISTS penstock_blocks (
  contents String, partition UInt32, log String, first UInt64, next UInt64, carry String,
  planned_at DateTime64(6) DEFAULT now64(6), proof String, before String
) ENGINE = ReplacingMergeTree(next) ORDER BY (contents, partition)
SETTINGS {window}fsync_after_insert = 1, fsync_part_directory = 1"""
PLANS = "penstock_blocks"
_WINDOW = "non_replicated_deduplication_window = 10000, "

_LOOKS = 6
_PAUSE_SECONDS = 0.05


def declaration(*, alone: bool) -> str:
    """Of the table of plans. Who is alone with it sends no tokens, and pays for none."""
    return _DECLARATION.format(window="" if alone else _WINDOW)


class Plans:
    def __init__(
        self,
        query: Callable[[str, Mapping[str, Value]], list[Row]],
        insert: Callable[[str, str], None],
        *,
        alone: bool,
        replicated: bool,
    ) -> None:
        """`insert` takes a statement and its token; `alone`: no other process has this engine."""
        self._query = query
        self._insert = insert
        self._alone = alone
        self._replicated = replicated
        self._known: dict[tuple[str, int], Block | None] = {}

    def last(self, contents: str, partition: int) -> Block | None:
        rows = self._query(
            "SELECT log, first, next, carry, proof, before FROM penstock_blocks WHERE contents = "
            "{contents:String} AND partition = {partition:UInt32} "
            # Not by time: the clock may have stepped back. A block that got its proof is there
            # without as well, and one that is settled as it was before.
            "ORDER BY next DESC, first DESC, proof DESC LIMIT 1",
            {"contents": contents, "partition": partition},
        )
        block = _block(rows[0]) if rows else None
        self._known[contents, partition] = block
        return block

    def ends(self, contents: str) -> dict[int, int]:
        """Up to where each partition is planned."""
        rows = self._query(
            "SELECT partition, max(next) FROM penstock_blocks WHERE contents = {contents:String} "
            "GROUP BY partition",
            {"contents": contents},
        )
        return {int(str(partition)): int(str(end)) for partition, end in rows}

    def add(self, contents: str, partition: int, was: Block | None, block: Block) -> None:
        """Raise `Moved` and add nothing when the last one is not `was`."""
        for look in range(_LOOKS):
            found = self._seen(contents, partition)
            if found == block:
                return
            if found != was:
                raise Moved(
                    f"partition {partition} is planned up to {_end(found)}, not up to "
                    f"{_end(was)}: another process has taken it over"
                )
            time.sleep(_PAUSE_SECONDS * look)
            token = f"{contents}:{partition}:after {_end(was)}"
            if _end(was) == block.next:
                token += " settled" if block.first == block.next else " proved"
            if look and not self._replicated:
                # Nothing lags behind here: the engine died between token and plan, and only the
                # token is left.
                token += f":{look}"
            self._insert(_statement(contents, partition, block), token)
            if self._alone:
                self._known[contents, partition] = block
                return
        raise Unavailable(f"the plan of partition {partition} up to {block.next} does not show")

    def _seen(self, contents: str, partition: int) -> Block | None:
        if self._alone and (contents, partition) in self._known:
            return self._known[contents, partition]
        return self.last(contents, partition)


def _statement(contents: str, partition: int, block: Block) -> str:
    return (
        "INSERT INTO penstock_blocks (contents, partition, log, first, next, carry, proof, "
        f"before) VALUES ({quoted(contents)}, {partition}, {quoted(block.log)}, {block.first}, "
        f"{block.next}, '{block.carry.hex()}', {quoted(block.proof)}, {quoted(block.before)})"
    )


def _block(row: tuple[Any, ...]) -> Block:
    log, first, following, carry, proof, before = row
    return Block(log, first, following, bytes.fromhex(carry), proof, before)


def _end(block: Block | None) -> int:
    return 0 if block is None else block.next
