"""The log forgets: blocks go from the front, a portion at a time, in the transactions of others.

Whoever commits carries a portion along, so no sync is made for it while there is work; with nothing
to commit the writer makes portions by themselves. A portion is at least twice what was added since
the last one, so a topic never outgrows what is to be kept of it. What is freed is written over,
used again, and what is much more is given back, in portions too.
"""

import time
from collections.abc import Callable

import apsw

from penstock.core.log import Extent, extents
from penstock.core.log.disk import reason

_BLOCKS, _BYTES = 64, 256 << 10
"""Of a portion, well below a millisecond for the writer; more if more came meanwhile."""
_PAGE_BYTES = 4096
_FREE_PAGES_MAX = 4096
"""Free pages of the file, 16 MiB, from which on half of them are given back."""
_GIVEN_BACK_PAGES = 64
_REST_SECONDS = 0.02
"""Between two portions: of the commits of a busy log, few carry one."""
_FAILED_SECONDS = 1.0


class Spoilt(Exception):
    """The disk damaged what was to be trimmed: SQLite takes nothing more in this transaction."""


class Trimming:
    """For the writer's thread, but for `extents`. What a transaction does counts once it is
    `settled`.
    """

    def __init__(
        self, connection: apsw.Connection, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.extents: dict[int, Extent] = {}
        """By topic; replaced whole, never changed, so that any thread may read it."""
        self.troubles: list[tuple[int, str]] = []
        """Topics of which nothing more is trimmed, and why; whoever tells it empties it."""
        self._damaged: set[int] = set()
        self._connection = connection
        self._now = now
        self._rest_until = float("-inf")
        self._wanted: dict[int, tuple[int, int]] = {}
        """Where topics are to begin, and when the last of what goes had been taken."""
        self._in_hand: tuple[int, Extent] | None = None
        self._unnoted: set[int] = set()
        """Topics that were counted since."""
        self._noted: set[int] = set()
        """Those of them that the transaction in hand notes."""
        self._slack = False
        """Whether more is to be given back."""
        self._added_blocks = self._added_bytes = 0
        self.gives_back = bool(connection.execute("PRAGMA auto_vacuum").get == 2)
        """Whether what is trimmed can leave the file."""

    def load(self, topic_ids: list[int]) -> None:
        self.extents = {topic_id: extents.of(self._connection, topic_id) for topic_id in topic_ids}

    @property
    def left(self) -> bool:
        """Whether there is anything to do, now or after a rest."""
        return bool(self._wanted) or self._slack

    @property
    def due(self) -> bool:
        return self.left and self._now() >= self._rest_until

    def want(self, topic_id: int, start: int, until_ms: int) -> None:
        """Let the topic begin at `start`, where one of its blocks does, or where it ends."""
        if topic_id not in self._damaged and start > self.of(topic_id).start:
            self._wanted[topic_id] = start, until_ms

    def count(self, topic_id: int, was: Extent, now: Extent) -> None:
        """Somebody counted on; of no use where what was counted has gone meanwhile. It is noted
        with what is written next.
        """
        known = self.of(topic_id)
        if (known.counted, known.start) != (was.counted, was.start):
            return
        self._unnoted.add(topic_id)
        self.extents = {
            **self.extents, topic_id: known._replace(counted=now.counted, bytes=now.bytes)
        }  # fmt: skip

    def of(self, topic_id: int) -> Extent:
        return self.extents.get(topic_id, Extent())

    def added(self, size: int) -> None:
        """A block of a body of so many bytes. It counts while portions are made."""
        if self._wanted:
            self._added_blocks += 1
            self._added_bytes += size

    def portion(self) -> int:
        """Within a transaction: trim or give back a little. About how many bytes have changed.

        Raise `Spoilt` once for a topic, of which nothing more is trimmed until the next start.
        """
        self._rest_until = self._now() + _REST_SECONDS
        if not self._wanted:
            return self._give_back()
        topic_id, (start, until_ms) = next(iter(self._wanted.items()))
        try:
            return self._trim(topic_id, start, until_ms)
        except apsw.CorruptError as error:
            del self._wanted[topic_id]
            self._damaged.add(topic_id)
            self.troubles.append((topic_id, reason(error)))
            raise Spoilt from error

    def note(self) -> None:
        """Within a transaction, behind a portion: write down what was counted."""
        trimmed = set() if self._in_hand is None else {self._in_hand[0]}
        self._noted = set(self._unnoted)
        for topic_id in self._unnoted - trimmed:
            extents.note(self._connection, topic_id, self.of(topic_id))

    def settled(self, *, committed: bool) -> None:
        if committed and self._in_hand is not None:
            topic_id, extent = self._in_hand
            self.extents = {**self.extents, topic_id: extent}
            self._added_blocks = self._added_bytes = 0
            if topic_id in self._wanted and self._wanted[topic_id][0] <= extent.start:
                del self._wanted[topic_id]
        if committed:
            self._unnoted -= self._noted
        else:
            self._rest_until = self._now() + _FAILED_SECONDS
        self._in_hand, self._noted = None, set()

    def forget(self) -> None:
        """All of the log is gone; it begins anew."""
        self.extents, self._wanted, self._in_hand, self._slack = {}, {}, None, False
        self._unnoted, self._noted = set(), set()

    def _trim(self, topic_id: int, start: int, until_ms: int) -> int:
        blocks_max = max(_BLOCKS, 2 * self._added_blocks)
        bytes_max = max(_BYTES, 2 * self._added_bytes)
        run, table = self._connection.execute, f"blocks_{topic_id}"
        blocks = size = 0
        reached = start
        for block in extents.fronts(self._connection, topic_id, self.of(topic_id).start):
            if block.first >= start:
                break
            if blocks == blocks_max or size >= bytes_max:
                reached = block.first
                break
            blocks, size = blocks + 1, size + block.size
        run(f"DELETE FROM {table} WHERE first < ?", (reached,))
        extent = self.of(topic_id).trimmed(reached, until_ms, size)
        extents.note(self._connection, topic_id, extent)
        self._in_hand = topic_id, extent
        self._slack = self._slack or self._free() > _FREE_PAGES_MAX
        return size + blocks * _PAGE_BYTES

    def _give_back(self) -> int:
        self._slack = self.gives_back and self._free() > _FREE_PAGES_MAX // 2
        if not self._slack:
            return 0
        list(self._connection.execute(f"PRAGMA incremental_vacuum({_GIVEN_BACK_PAGES})"))
        return 2 * _GIVEN_BACK_PAGES * _PAGE_BYTES

    def _free(self) -> int:
        return int(str(self._connection.execute("PRAGMA freelist_count").get or 0))
