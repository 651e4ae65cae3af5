"""Between one event loop and the log: one submission under way, the next one gathering.

A lone event goes at once. Under load, waiting a millisecond for company saves more than it costs:
a sync, a wake-up of the log's thread and its way back are then shared by all that gathered. But
when a good part of the present clients wait already, they are a company, and waiting on is idle.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice

from penstock.core.edge.judging import Judged, Part
from penstock.core.edge.turn import Turn
from penstock.core.errors import KeyReused, Overloaded, PenstockError
from penstock.core.log import REUSED, Append, Log, Receipt

Settle = Callable[[PenstockError | None], None]
"""Called on the loop: with None once the events are durable, else with why they are not stored."""
Repeat = Callable[[bytes], None]
"""Called instead where the events were durable before, with what their first request left."""

_BUSY_FROM = 4
"""Requests of the last group from which on company is to be expected."""
_GATHER_SECONDS = 0.001
_SETTLED_AT_ONCE = 16
"""Between looks at the clock."""
_COMPANY = 4
"""A group that holds one in so many of the present clients does not wait for more."""


class _Group:
    """What gathers for one submission."""

    __slots__ = ("appends", "keyed", "plain", "settles", "size")

    def __init__(self) -> None:
        self.plain: dict[str, tuple[list[bytes], list[bytes]]] = {}
        """Payloads that need no account of their own, and keys, by topic: one append for all."""
        self.appends: list[Append] = []
        self.settles: list[Settle] = []
        self.keyed: list[tuple[int, int, Repeat | None]] = []
        """Of those with an idempotency key: which settle and which append is theirs."""
        self.size = 0

    def submission(self) -> list[Append]:
        plain = [Append(topic, payloads, keys) for topic, (payloads, keys) in self.plain.items()]
        return plain + self.appends

    def settle_keyed(self, receipts: Sequence[Receipt]) -> None:
        """Have those settle otherwise whose key was taken."""
        own = receipts[len(self.plain) :]
        for settle, append, repeat in self.keyed:
            receipt = own[append]
            if receipt == REUSED:
                self.settles[settle] = partial(_refuse, self.settles[settle])
            elif receipt.is_duplicate and repeat is not None:
                self.settles[settle] = partial(_repeat, repeat, receipt.answer)


def tally(log: Log, topic: str, judged: Judged) -> None:
    """Nothing of it is stored: account for it, its events in their own topics."""
    rejected = Counter({topic: judged.rejected})
    for part in judged.parts:
        rejected[part.topic] += len(part.payloads)
    for name, events in rejected.items():
        log.tally(name, rejected=events)


def _accounted(topic: str, judged: Judged) -> Iterator[Append]:
    """First that of the topic that has the account and the key; the others follow it."""
    own = next((part for part in judged.parts if part.topic == topic), Part(topic, ()))
    key = judged.idempotency_key
    told = (key, judged.rejected, judged.fingerprint, judged.answer)
    yield Append(topic, own.payloads, own.keys, *told)
    for part in judged.parts:
        if part is not own:
            yield Append(part.topic, part.payloads, part.keys, follows=bool(key))


def _refuse(settle: Settle, error: PenstockError | None) -> None:
    settle(error or KeyReused())


def _repeat(repeat: Repeat, answer: bytes, error: PenstockError | None) -> None:
    del error  # there is none, or nothing was a repeat
    repeat(answer)


class Committer:
    def __init__(
        self, log: Log, loop: asyncio.AbstractEventLoop, turn: Turn, *, bytes_max: int
    ) -> None:
        self._log = log
        self._loop = loop
        self._turn = turn
        self._bytes_max = bytes_max
        self._group = _Group()
        self._under_way = False
        self._last = 0
        self._timer: asyncio.TimerHandle | None = None
        self.clients = 0
        """How many connections have asked for something of late."""
        self.stored = 0
        """Events that are durable since the start, repeats not among them."""

    def commit(
        self,
        topic: str,
        judged: Judged,
        settle: Settle,
        repeat: Repeat | None = None,
    ) -> None:
        """`topic` has the account of what is refused, and the idempotency keys.

        Raise `Overloaded` when too much is gathering behind a slow disk.
        """
        group, size = self._group, self._group.size
        for part in judged.parts:
            payloads = part.payloads
            size += len(payloads[0]) if len(payloads) == 1 else sum(map(len, payloads))
        if size > self._bytes_max:
            tally(self._log, topic, judged)
            raise Overloaded("the log is behind; try again in a second")
        group.size = size
        if judged.idempotency_key or judged.rejected:
            if judged.idempotency_key:
                group.keyed.append((len(group.settles), len(group.appends), repeat))
            group.appends += _accounted(topic, judged)
        else:
            for part in judged.parts:
                gathered = group.plain.get(part.topic)
                if gathered is None:
                    group.plain[part.topic] = (list(part.payloads), list(part.keys))
                else:
                    gathered[0].extend(part.payloads)
                    gathered[1].extend(part.keys)
        settles = group.settles
        settles.append(settle)
        if self._timer is not None:
            if len(settles) * _COMPANY >= self.clients:
                self._timer.cancel()
                self._flush()
        elif len(settles) == 1 and not self._under_way:
            self._schedule()

    def _schedule(self) -> None:
        """Take what has gathered to the log, now or a little later."""
        waiting = len(self._group.settles)
        if self._last >= _BUSY_FROM and waiting * _COMPANY < self.clients:
            self._timer = self._loop.call_later(_GATHER_SECONDS, self._flush)
        else:
            self._under_way = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._timer = None
        group, self._group = self._group, _Group()
        self._under_way = True
        self._last = len(group.settles)
        appends = group.submission()
        try:
            self._log.submit(appends, partial(self._done, group, appends))
        except Overloaded as error:
            for append in appends:
                self._log.tally(append.topic, rejected=len(append.payloads) + append.rejected)
            self._settle(group, error)

    def _done(
        self,
        group: _Group,
        appends: Sequence[Append],
        outcome: Sequence[Receipt] | PenstockError,
    ) -> None:
        """On the log's thread."""
        error = outcome if isinstance(outcome, PenstockError) else None
        if not isinstance(outcome, PenstockError):
            for append, receipt in zip(appends, outcome, strict=True):
                self.stored += len(append.payloads) if receipt.stored else 0
            if group.keyed:
                group.settle_keyed(outcome)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, group, error)

    def _settle(self, group: _Group, error: PenstockError | None) -> None:
        self._under_way = False
        if self._group.settles:
            self._schedule()
        self._tell(iter(group.settles), error)

    def _tell(self, settles: Iterator[Settle], error: PenstockError | None) -> None:
        """As many as there is time for, and then the others."""
        for _ in self._turn.pieces():
            told = 0
            for settle in islice(settles, _SETTLED_AT_ONCE):
                told += 1
                try:
                    settle(error)
                except Exception as defect:  # noqa: BLE001 - it must not keep it from the others
                    self._loop.call_exception_handler({"message": "settling", "exception": defect})
            if told < _SETTLED_AT_ONCE:
                return
        self._loop.call_soon(self._tell, settles, error)
