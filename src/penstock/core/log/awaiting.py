"""Appending for one who has a thread to wait on."""

from collections.abc import Sequence
from concurrent.futures import Future

from penstock.core.errors import PenstockError
from penstock.core.log import Append, Appender, Receipt


def submitted(log: Appender, appends: Sequence[Append]) -> "Future[Sequence[Receipt]]":
    """It has the receipts, or what the log says instead, once the log has answered."""
    answer: Future[Sequence[Receipt]] = Future()

    def done(outcome: Sequence[Receipt] | PenstockError) -> None:
        if isinstance(outcome, PenstockError):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)

    log.submit(appends, done)
    return answer


def stored(log: Appender, appends: Sequence[Append]) -> Sequence[Receipt]:
    """Add the appends and wait until they are durable. Raise what the log says instead."""
    return submitted(log, appends).result()
