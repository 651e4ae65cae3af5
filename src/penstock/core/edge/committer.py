"""Between one event loop and the log: one submission under way, the next one gathering.

A lone event goes at once. Under load, waiting a millisecond for company saves more than it costs:
a sync, a wake-up of the log's thread and its way back are then shared by all that gathered.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from penstock.core.errors import Overloaded, PenstockError
from penstock.core.log import Append, Log, Receipt

Settle = Callable[[Receipt | PenstockError], None]
"""Called on the loop once the append is durable, or with the reason why it is not stored."""

_BUSY_FROM = 4
"""Appends of the last group from which on company is to be expected."""
_GATHER_SECONDS = 0.001


class Committer:
    def __init__(self, log: Log, loop: asyncio.AbstractEventLoop) -> None:
        self._log = log
        self._loop = loop
        self._appends: list[Append] = []
        self._settles: list[Settle] = []
        self._under_way = 0
        """Appends submitted and not yet settled."""
        self._last = 0

    def commit(self, append: Append, settle: Settle) -> None:
        self._appends.append(append)
        self._settles.append(settle)
        if len(self._appends) == 1 and not self._under_way:
            self._schedule()

    def _schedule(self) -> None:
        if self._last >= _BUSY_FROM:
            self._loop.call_later(_GATHER_SECONDS, self._flush)
        else:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        appends, self._appends = self._appends, []
        settles, self._settles = self._settles, []
        self._under_way = self._last = len(appends)
        try:
            self._log.submit(appends, partial(self._done, settles))
        except Overloaded as error:
            for append in appends:
                self._log.tally(append.topic, rejected=len(append.payloads) + append.rejected)
            self._settle(settles, error)

    def _done(self, settles: list[Settle], outcome: Sequence[Receipt] | PenstockError) -> None:
        """On the log's thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, settles, outcome)

    def _settle(self, settles: list[Settle], outcome: Sequence[Receipt] | PenstockError) -> None:
        self._under_way = 0
        if self._appends:
            self._schedule()
        if isinstance(outcome, PenstockError):
            for settle in settles:
                self._tell(settle, outcome)
            return
        for settle, receipt in zip(settles, outcome, strict=True):
            self._tell(settle, receipt)

    def _tell(self, settle: Settle, outcome: Receipt | PenstockError) -> None:
        """One that fails to hear it must not keep it from the others."""
        try:
            settle(outcome)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is that request's own
            self._loop.call_exception_handler({"message": "settling", "exception": error})
