"""What the account of the edge has beyond its file, which is written once a second."""

import threading
from collections.abc import Callable, Iterable

from penstock.core.clock import Clock
from penstock.core.log import Minute

Lines = dict[str, list[Minute]]
"""Of each topic what is to be added to its minutes."""


class Account:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._filing = threading.Lock()
        self._minutes: dict[tuple[str, int], Minute] = {}

    def add(self, topic: str, *, stored: int = 0, rejected: int = 0) -> None:
        """Any thread, never blocking on the disk."""
        minute = self._clock.now_ms() // 60_000
        with self._lock:
            self._add(topic, Minute(minute, stored + rejected, stored, 0, rejected))

    def file(self, write: Callable[[Lines], None]) -> None:
        """Hand over what there is; when `write` fails, it stays here."""
        with self._filing:
            with self._lock:
                taken, self._minutes = self._minutes, {}
            lines: Lines = {}
            for (topic, _), line in taken.items():
                lines.setdefault(topic, []).append(line)
            try:
                write(lines)
            except BaseException:
                with self._lock:
                    for (topic, _), line in taken.items():
                        self._add(topic, line)
                raise

    def whole(
        self, topic: str, since_minute: int, filed: Callable[[], Iterable[Minute]]
    ) -> list[Minute]:
        """With the lines in the file, none of them twice and none forgotten."""
        with self._filing:
            found = {line.minute: line for line in filed()}
            with self._lock:
                for (name, minute), line in self._minutes.items():
                    if name == topic and minute >= since_minute:
                        found[minute] = _sum(found.get(minute), line)
        return [found[minute] for minute in sorted(found)]

    def _add(self, topic: str, line: Minute) -> None:
        key = (topic, line.minute)
        self._minutes[key] = _sum(self._minutes.get(key), line)


def _sum(was: Minute | None, line: Minute) -> Minute:
    if was is None:
        return line
    return Minute(line.minute, *(a + b for a, b in zip(was[1:], line[1:], strict=True)))
