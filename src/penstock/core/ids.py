"""Identifiers that sort by the time they were made (UUID version 7, RFC 9562)."""

import os
import threading
from uuid import UUID

from penstock.core.clock import Clock


class Ids:
    """UUIDv7s that only ever grow within one process, also when the wall clock steps back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last_ms = 0
        self._counter = 0

    def uuid7(self) -> UUID:
        """48 bits of milliseconds, 12 bits of counter, 62 random bits."""
        with self._lock:
            now = self._clock.now_ms()
            if now > self._last_ms:
                self._last_ms, self._counter = now, 0
            else:
                self._counter += 1
                if self._counter > 0xFFF:
                    self._last_ms, self._counter = self._last_ms + 1, 0
            ms, counter = self._last_ms, self._counter
        tail = int.from_bytes(os.urandom(8)) & ((1 << 62) - 1)
        return UUID(int=ms << 80 | 7 << 76 | counter << 64 | 2 << 62 | tail)
