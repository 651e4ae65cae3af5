"""Shadows: what is made beside a read model, to take its place; one process at a time makes one."""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from penstock.core.clock import Clock
from penstock.core.errors import Misconfigured, NotReady
from penstock.core.projection import Projection, Table
from penstock.core.projection.runner import Consumer
from penstock.core.projection.stores import Stores
from penstock.core.state.lease import Leases
from penstock.core.telemetry import Logger

SHADOW = "__shadow"
_LEASE_SECONDS = 60.0
_RENEW_SECONDS = 10.0


class Rebuilt(msgspec.Struct, frozen=True):
    projection: str
    records: int
    """Records of the log that went in."""
    compared: bool
    differences: list[str]
    """In words, the first few; empty when both are equal."""
    lost: list[str]
    """What was built has less than what there is, in words; then it is kept unless told otherwise.
    """
    swapped: bool
    kept: list[str]
    """What stays as it is, for the log does not cover it any more, in words; empty for all else."""


class Turn:
    """That one process at a time rebuilds a read model, and nobody drops its shadow meanwhile."""

    def __init__(self, projection: Projection, leases: Leases, owner: str, clock: Clock) -> None:
        self._name = f"rebuild/{projection.name}"
        self._projection = projection
        self._leases = leases
        self._owner = owner
        self._clock = clock
        self._token: int | None = None
        self._renew_at = 0.0

    def take(self) -> bool:
        self._token = self._leases.acquire(self._name, self._owner, _LEASE_SECONDS)
        self._renew_at = self._clock.monotonic() + _RENEW_SECONDS
        return self._token is not None

    def keep(self) -> None:
        """Raise `NotReady` when it was lost."""
        if self._token is None or self._clock.monotonic() < self._renew_at:
            return
        self._renew_at = self._clock.monotonic() + _RENEW_SECONDS
        if not self._leases.renew(self._name, self._owner, self._token, _LEASE_SECONDS):
            raise NotReady(f"another process rebuilds {self._projection.name}")

    def end(self) -> None:
        if self._token is not None:
            self._leases.release(self._name, self._owner, self._token)
            self._token = None


def clean(projection: Projection, stores: Stores) -> None:
    """Drop what a rebuild left behind that could not; nobody may be at it."""
    shadow = projection.name + SHADOW
    if not isinstance(projection, Table):
        stores.state.drop(shadow)
    for table in projection.tables if stores.warehouse is not None else ():
        if stores.tables.columns(table + SHADOW):
            stores.tables.drop(table + SHADOW)
    stores.dead_letters.forget(shadow)


def clean_up(consumer: Consumer, stores: Stores, turn: Turn, logger: Logger) -> None:
    """At a start: after a rebuild that was killed. What fails now is done by the next one."""
    try:
        if turn.take():
            clean(consumer.projection, stores)
            turn.end()
    except Exception as error:  # noqa: BLE001 - a shadow takes space, and is in nobody's way
        shadow = consumer.projection.name + SHADOW
        logger.warning("rebuild.left_behind", shadow=shadow, error=str(error))


@contextmanager
def claimed(live: Consumer, turn: Turn | None) -> Iterator[None]:
    """Nobody else rebuilds it meanwhile. Raise `NotReady` when somebody does."""
    name = live.projection.name
    if not live.rebuilding.acquire(blocking=False):
        raise NotReady(f"{name} is being rebuilt already")
    try:
        if turn is not None and not turn.take():
            raise NotReady(f"another process rebuilds {name}")
        try:
            yield
        finally:
            if turn is not None:
                turn.end()
    finally:
        live.rebuilding.release()


def create_shadow(stores: Stores, statement: str, table: str) -> None:
    """Of a table, by the statement that creates it. Raise `Misconfigured`."""
    named = f"CREATE TABLE IF NOT EXISTS {table}"
    if named not in statement:
        raise Misconfigured(f"no statement creates the table {table}")
    stores.tables.create([statement.replace(named, f"CREATE TABLE {table}{SHADOW}", 1)])
