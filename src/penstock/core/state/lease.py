"""Leases: what must happen once, though several processes are there to do it.

A lease ends with its time, whatever becomes of its owner; so an owner that was held up may go on
without it. That is why each acquisition has a *fencing token*, larger than all before it: whoever
writes under a lease writes its token along, and a store that knows a larger one refuses.
"""

import threading
from typing import Protocol

from penstock.core.clock import Clock


class Leases(Protocol):
    def acquire(self, name: str, owner: str, seconds: float) -> int | None:
        """The token, when nobody else holds the lease; who holds it already gets a new one.

        Raise `NotReady` when the store does not answer: then it may be held or not.
        """
        ...

    def renew(self, name: str, owner: str, token: int, seconds: float) -> bool:
        """Hold it so long from now on; False when it was lost, and is not to be acted upon."""
        ...

    def release(self, name: str, owner: str, token: int) -> None:
        """Let another one acquire it at once; nothing when it was lost."""
        ...


class AloneLeases:
    """Every lease to everyone: an embedded store belongs to one process, and its folder's lock sees
    to that.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = 0
        self._held: dict[str, int] = {}

    def acquire(self, name: str, owner: str, seconds: float) -> int | None:
        """Tokens are microseconds of the clock, so that they grow over restarts too."""
        del owner, seconds
        with self._lock:
            self._last = max(self._last + 1, self._clock.now_ms() * 1000)
            self._held[name] = self._last
            return self._last

    def renew(self, name: str, owner: str, token: int, seconds: float) -> bool:
        del owner, seconds
        return self._held.get(name) == token

    def release(self, name: str, owner: str, token: int) -> None:
        del owner
        with self._lock:
            if self._held.get(name) == token:
                del self._held[name]
