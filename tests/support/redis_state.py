"""A state on a Redis, and the server behind it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from penstock.core.state import Entry, Position
from penstock.core.state.redis import RedisState

SPACE = "tests.space"
LOG = "a-log"


def client(url: str) -> Any:
    return redis.Redis.from_url(url)


def plain(group: bytes, value: bytes) -> Entry:
    return Entry(group, b"", value)


def move(state: RedisState, *entries: Entry, partition: int = 0, space: str = SPACE) -> None:
    """One step on from where the space is."""
    was = state.position(space, partition)
    position = Position(LOG, was.next + 1 if was else 1)
    state.apply(space, entries, partition=partition, was=was, position=position)


@contextmanager
def configured(url: str, **settings: str) -> Iterator[None]:
    """A running server with settings of another kind, for a while."""
    with client(url) as admin:
        named = {name.replace("_", "-"): value for name, value in settings.items()}
        before = {name: admin.config_get(name)[name] for name in named}
        for name, value in named.items():
            admin.config_set(name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                admin.config_set(name, value)
