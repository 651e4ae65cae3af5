"""Between one event loop and the log: what arrives in one turn of the loop is one submission."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from penstock.core.errors import Overloaded, PenstockError
from penstock.core.log import Append, Log, Receipt

Settle = Callable[[Receipt | PenstockError], None]
"""Called on the loop once the append is durable, or with the reason why it is not stored."""


class Committer:
    def __init__(self, log: Log, loop: asyncio.AbstractEventLoop) -> None:
        self._log = log
        self._loop = loop
        self._appends: list[Append] = []
        self._settles: list[Settle] = []

    def commit(self, append: Append, settle: Settle) -> None:
        if not self._appends:
            self._loop.call_soon(self._flush)
        self._appends.append(append)
        self._settles.append(settle)

    def _flush(self) -> None:
        appends, self._appends = self._appends, []
        settles, self._settles = self._settles, []
        try:
            self._log.submit(appends, partial(self._done, settles))
        except Overloaded as error:
            for append in appends:
                self._log.tally(append.topic, rejected=len(append.payloads) + append.rejected)
            _settle(settles, error)

    def _done(self, settles: list[Settle], outcome: Sequence[Receipt] | PenstockError) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_settle, settles, outcome)


def _settle(settles: list[Settle], outcome: Sequence[Receipt] | PenstockError) -> None:
    if isinstance(outcome, PenstockError):
        for settle in settles:
            settle(outcome)
        return
    for settle, receipt in zip(settles, outcome, strict=True):
        settle(receipt)
