"""What is answered to what is refused, in our spelling or in an operation's own, and its line."""

import logging
from contextlib import suppress

from penstock.core.clock import Clock
from penstock.core.edge import Refused, Refusing, Response
from penstock.core.edge.wire import REQUEST_ID
from penstock.core.errors import PenstockError
from penstock.core.ids import Ids
from penstock.core.interface import Refusal
from penstock.core.telemetry import Logger, Throttle

_LINES_PER_SECOND = 100
_LINES_AT_ONCE = 10
"""A line costs as much as a few requests, and all of these may be written in one turn."""
_LAST = Response.json(Refusal(PenstockError.default_code, PenstockError().message), 500)
"""What is left to say where nothing else can be."""


class Refusals:
    def __init__(self, ids: Ids, logger: Logger, clock: Clock) -> None:
        self._ids = ids
        self._logger = logger
        self._throttle = Throttle(clock, lines_per_second=_LINES_PER_SECOND, at_once=_LINES_AT_ONCE)

    def answer(
        self,
        received: tuple[str, str, bytes],
        error: PenstockError,
        cause: BaseException | None,
        spell: Refusing | None,
    ) -> Response:
        """To (method, path, id if it has one); what lies inside is told to nobody who asks. Never
        raises: who asked would wait for ever.
        """
        try:
            return self._answer(received, error, cause, spell)
        except BaseException as defect:
            with suppress(Exception):
                self._logger.log(
                    logging.ERROR, "request.failed", status=_LAST.status, exc_info=cause or defect
                )
            return _LAST

    def _answer(
        self,
        received: tuple[str, str, bytes],
        error: PenstockError,
        cause: BaseException | None,
        spell: Refusing | None,
    ) -> Response:
        method, path, request_id = received
        request_id = request_id or str(self._ids.uuid7()).encode()
        told = PenstockError() if error.status == PenstockError.status else error
        refused = Refused(
            error.status,
            told.code,
            told.message,
            error.retry_after,
            request_id.decode("latin-1"),
            told.field,
        )
        try:
            spelled = plain(refused) if spell is None else spell(refused)
            lines = [*spelled.headers, (REQUEST_ID, request_id)]
        except BaseException as defect:  # noqa: BLE001 - a defect of ours is told, and ends nothing
            spelled, cause = plain(refused), cause or defect
            lines = [*spelled.headers, (REQUEST_ID, request_id)]
        if self._throttle.admits():
            self._logger.log(
                logging.ERROR if cause else logging.WARNING,
                "request.failed" if cause else "request.refused",
                status=error.status,
                error=error.code,
                message=str(error),
                method=method,
                path=path,
                request_id=refused.request_id,
                suppressed=self._throttle.take_suppressed(),
                exc_info=cause,
            )
        if error.retry_after:
            lines.append((b"retry-after", b"%d" % error.retry_after))
        return Response(spelled.status, spelled.body, (*lines, *error.headers))


def plain(refused: Refused) -> Response:
    """As everything is refused that has no spelling of its own."""
    return Response.json(Refusal(refused.code, refused.message, refused.field), refused.status)
