"""A logger whose lines a test can read."""

from collections.abc import MutableMapping
from typing import Any

import structlog

from penstock.core.telemetry import Logger


class Lines:
    def __init__(self, *processors: structlog.typing.Processor) -> None:
        """What comes through the processors is kept."""
        self.lines: list[dict[str, Any]] = []
        self.logger: Logger = structlog.wrap_logger(
            structlog.ReturnLogger(),
            processors=[*processors, self._keep],
            wrapper_class=structlog.make_filtering_bound_logger(0),
        )

    def named(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    def _keep(self, _: object, level: str, line: MutableMapping[str, Any]) -> str:
        self.lines.append({**line, "level": level})
        raise structlog.DropEvent
