"""Schedules: what is done every so often, by one of all the processes that could do it."""

import threading
from collections.abc import Callable

from penstock.core.state.lease import Leases
from penstock.core.telemetry import Logger

_LEASE_INTERVALS = 3
"""A leader that misses so many turns has another one after it."""


class Schedule:
    """A thread that works when its turn comes and while it leads.

    The lease keeps others from working in vain, no more: one that was held up may go on beside its
    successor. So the work gets the fencing token, and what is not harmless twice has to use it.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[int], None],
        *,
        seconds: float,
        leases: Leases,
        owner: str,
        logger: Logger,
    ) -> None:
        self.leads = False
        self._name = name
        self._work = work
        self._seconds = seconds
        self._leases = leases
        self._owner = owner
        self._logger = logger.bind(schedule=name)
        self._token: int | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(
            target=self._run, name=f"penstock-{self._name}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Finish the turn in hand, and let another process lead."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self.turn()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next turn may do
                self._logger.warning("schedule.failed", error=f"{type(error).__name__}: {error}")
        if self._token is not None:
            try:
                self._leases.release(self._name, self._owner, self._token)
            except Exception as error:  # noqa: BLE001 - it ends by itself
                self._logger.warning("schedule.not_released", error=str(error))

    def turn(self) -> bool:
        """Work if this process leads; whether it does. Raise what the work or the lease raised."""
        seconds = self._seconds * _LEASE_INTERVALS
        token = self._token
        if token is None or not self._leases.renew(self._name, self._owner, token, seconds):
            token = self._token = self._leases.acquire(self._name, self._owner, seconds)
        self.leads = token is not None
        if token is not None:
            self._work(token)
        return self.leads
