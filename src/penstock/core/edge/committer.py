"""Between one event loop and the log: what arrives in one turn of the loop is one submission."""

import asyncio
from collections.abc import Sequence
from functools import partial

from penstock.core.errors import Overloaded, PenstockError
from penstock.core.log import Append, Log, Receipt


class Committer:
    def __init__(self, log: Log, loop: asyncio.AbstractEventLoop) -> None:
        self._log = log
        self._loop = loop
        self._appends: list[Append] = []
        self._futures: list[asyncio.Future[Receipt]] = []

    def commit(self, append: Append) -> "asyncio.Future[Receipt]":
        """Resolves once the append is durable; fails with `Overloaded` or `NotReady`."""
        if not self._appends:
            self._loop.call_soon(self._flush)
        future: asyncio.Future[Receipt] = self._loop.create_future()
        self._appends.append(append)
        self._futures.append(future)
        return future

    def _flush(self) -> None:
        appends, self._appends = self._appends, []
        futures, self._futures = self._futures, []
        try:
            self._log.submit(appends, partial(self._done, futures))
        except Overloaded as error:
            for append in appends:
                self._log.tally(append.topic, rejected=len(append.payloads) + append.rejected)
            _settle(futures, error)

    def _done(
        self, futures: "list[asyncio.Future[Receipt]]", outcome: Sequence[Receipt] | PenstockError
    ) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_settle, futures, outcome)


def _settle(
    futures: "list[asyncio.Future[Receipt]]", outcome: Sequence[Receipt] | PenstockError
) -> None:
    if isinstance(outcome, PenstockError):
        for future in futures:
            if not future.done():
                future.set_exception(outcome)
        return
    for future, receipt in zip(futures, outcome, strict=True):
        if not future.done():
            future.set_result(receipt)
