"""The state on a server, Redis or Valkey, where any number of processes share it.

A space is a pointer to its *generation*, a name that is never used twice; dropping and swapping
move the pointer, and what nobody points to any more is unlinked behind. The keys:

- `penstock:spaces`: a hash of each space's generation,
- `penstock:garbage`: a set of the generations that are to be unlinked,
- `penstock:<generation>`: a set of the names of its keys,
- `penstock:<generation>:=<group>`: a hash of the group's values by their sort keys,
- `penstock:<generation>:#`: the sort keys of the group without a name, in order,
- `penstock:<generation>:@<partition>`: a position,
- `penstock:lease:<name>`, `penstock:tokens`: who holds a lease, and the latest token of each.

docs/decisions/0011 has the why and the figures.
"""

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from penstock.core.errors import Moved, NotReady
from penstock.core.state import OURS, Entry, History, Place, Position, Trim
from penstock.core.state import redis_scripts as scripts
from penstock.core.state.redis_keys import (
    ORDER,
    OURS_NAME,
    group_name,
    keys_of,
    lease,
    position_name,
    registry_of,
)
from penstock.core.state.redis_server import (
    RedisError,
    WatchError,
    connect,
    evicted_by,
    obstacle,
)

_SCANNED_AT_ONCE = 200
_LOOKED_FOR_AT_ONCE = 100
"""Keys, of all that a space is to have: of a server that lost one in a hundred, two looks of three
find out.
"""
_DELETED_AT_ONCE = 5_000
"""By one call of a script."""
_UNLINKED_AT_ONCE = 500
"""Keys; the server does nothing else meanwhile, for a millisecond or so."""

_SPACES = "penstock:spaces"
_GARBAGE = "penstock:garbage"
_NOWHERE = b"-"
"""The generation of a space that has none: there is no key of it, so it reads as empty."""

_decode_position = msgspec.msgpack.Decoder(Position).decode
_encode = msgspec.msgpack.Encoder().encode


class _Step(NamedTuple):
    """A projection's move, in one partition."""

    partition: int
    was: Position | None
    position: Position
    deletes: Sequence[Place]


class RedisState:
    """What it has written is as durable as the server's `appendonly` makes it, `put` included."""

    def __init__(self, url: str) -> None:
        """Raise `Misconfigured` when the server cannot be used, or would forget by itself."""
        self._place, self._redis = connect(url)
        self._generations: dict[str, bytes] = {}
        """Where spaces were when they were last read."""
        self._expected: dict[str, bytes] = {}
        """Where they were when a position of theirs was read, or when this process made them: of
        what is elsewhere since then nobody knows yet whether it holds as much.
        """
        self._evicted = evicted_by(self._redis)
        self._forgetful: set[bytes] = set()
        """Generations that may have lost keys: the server evicted some of somebody's."""
        self._replace = self._redis.register_script(scripts.REPLACE)
        self._delete = self._redis.register_script(scripts.DELETE)
        self._lacking = self._redis.register_script(scripts.LACKING)
        self._acquire = self._redis.register_script(scripts.ACQUIRE)
        self._renew = self._redis.register_script(scripts.RENEW)
        self._closing = threading.Event()
        self._background = ThreadPoolExecutor(1, thread_name_prefix="penstock-unlink")
        self._background.submit(self._collect)  # what another process did not come to do

    # -- reading --------------------------------------------------------------------------------

    def position(self, space: str, partition: int) -> Position | None:
        (found,) = self._read(space, lambda pipe, keys: pipe.get(keys + position_name(partition)))
        if (generation := self._generations.get(space, _NOWHERE)) != _NOWHERE:
            self._expected[space] = generation
        return None if found is None else _decode_position(found)

    def lacking(self, space: str) -> str:
        with self._reporting():
            evicted = evicted_by(self._redis)
            if evicted > self._evicted:  # it starts at nothing whenever the server does
                self._forgetful |= set(self._redis.hvals(_SPACES))
            self._evicted = evicted
            asked = [space, _LOOKED_FOR_AT_ONCE]
            generation, wanted, there = self._lacking(keys=[_SPACES], args=asked)
        if generation and not wanted:
            return "the state has lost the names of its keys"
        if there < wanted:
            return f"of {wanted} of its keys the state has lost {wanted - there}"
        return "the state has evicted keys" if generation in self._forgetful else ""

    def ping(self) -> None:
        with self._reporting():
            found = obstacle(self._redis.info())
        if found:
            raise NotReady(f"the state {found}")

    def first(
        self, space: str, groups: Sequence[bytes], limit: int, start: bytes = b""
    ) -> list[History]:
        histories = self._histories(space, groups, limit, start)
        found = self._generations.get(space, _NOWHERE)
        known = self._expected.get(space, _NOWHERE)
        if known == _NOWHERE:
            self._expected[space] = found
        elif known != found and not space.startswith(OURS):  # ours comes and goes
            raise NotReady(f"{space} is gone from the state, or was made again; ask again")
        return [one[bisect_left(one, (start,)) :][:limit] for one in histories]

    def get_many(self, space: str, groups: Sequence[bytes]) -> list[bytes | None]:
        def ask(pipe: Any, keys: bytes) -> None:
            for group in groups:
                pipe.hget(keys + group_name(group), b"")

        return self._read(space, ask)

    def values(
        self, space: str, groups: Sequence[bytes], sorts: Sequence[bytes]
    ) -> list[list[bytes | None]]:
        if not sorts:
            return [[] for _ in groups]

        def ask(pipe: Any, keys: bytes) -> None:
            for group in groups:
                pipe.hmget(keys + group_name(group), sorts)

        return self._read(space, ask)

    def scan(self, space: str) -> Iterator[Entry]:
        """Groups come in their own order, so that two spaces of equal contents scan alike.

        Their names are all in memory meanwhile. Raise `NotReady` when the space is replaced.
        """
        generation, groups = self._groups(space)
        for start in range(0, len(groups), _SCANNED_AT_ONCE):
            part = groups[start : start + _SCANNED_AT_ONCE]
            histories = self._histories(space, part)
            if self._generations[space] != generation:
                raise NotReady(f"{space} was replaced while it was read; read it again")
            for group, history in zip(part, histories, strict=True):
                for sort, value in history:
                    yield Entry(group, sort, value)

    def spaces(self) -> list[str]:
        with self._reporting():
            return sorted(name.decode() for name in self._redis.hkeys(_SPACES))

    def compact(self, space: str) -> None:
        """Nothing to do: a look-up in memory is one look-up."""

    @property
    def folder(self) -> None:
        return None

    def bytes_of(self, space: str) -> int:
        del space
        return 0

    def bytes_on_disk(self) -> int:
        """Memory of the whole server, whoever else uses it: a Redis knows no other figure."""
        with self._reporting():
            return int(self._redis.info("memory")["used_memory"])

    def _read(self, space: str, ask: Callable[[Any, bytes], object]) -> list[Any]:
        """Ask a space, in one round trip: it is asked where it was the last time, and behind that
        whether it still is there. If so, it was there when it was asked, for no generation comes
        back; if not, it is asked again.
        """
        while True:
            generation = self._generations.get(space, _NOWHERE)
            with self._reporting(), self._redis.pipeline(transaction=False) as pipe:
                ask(pipe, keys_of(generation))
                pipe.hget(_SPACES, space)
                answers: list[Any] = pipe.execute()
            found = answers.pop() or _NOWHERE
            if found == generation:
                return answers
            self._generations[space] = found

    def _histories(
        self, space: str, groups: Sequence[bytes], limit: int | None = None, start: bytes = b""
    ) -> list[History]:
        """In order; of the group without a name only `limit` from `start` on, of others all."""

        def ask(pipe: Any, keys: bytes) -> None:
            for group in groups:
                if group or limit is None:
                    pipe.hgetall(keys + group_name(group))
                else:
                    pipe.eval(scripts.ORDERED, 1, keys, b"[" + start, limit)

        return [
            sorted(found.items()) if isinstance(found, dict) else list(zip(*found, strict=True))
            for found in self._read(space, ask)
        ]

    def _groups(self, space: str) -> tuple[bytes, list[bytes]]:
        with self._reporting():
            generation = self._redis.hget(_SPACES, space) or _NOWHERE
            names = set(self._redis.sscan_iter(registry_of(generation), count=1000))
        return generation, sorted(name[1:] for name in names if name.startswith(b"="))

    # -- writing --------------------------------------------------------------------------------

    def apply(
        self,
        space: str,
        entries: Iterable[Entry],
        *,
        partition: int,
        was: Position | None,
        position: Position,
        deletes: Iterable[Place] = (),
        trims: Sequence[Trim] = (),
    ) -> None:
        keys = self._write(space, entries, _Step(partition, was, position, tuple(deletes)))
        if trims:
            self._trim(keys, trims)

    def put(self, space: str, entry: Entry) -> None:
        self._write(space, [entry])

    def delete(self, space: str, group: bytes, sort: bytes = b"") -> None:
        with self._reporting():
            self._delete(keys=[_SPACES], args=[space, group, sort])

    def _write(self, space: str, entries: Iterable[Entry], step: _Step | None = None) -> bytes:
        """Everything or nothing; returns how the generation's keys begin.

        A script would take fewer round trips, and hold up everybody else for more than twice as
        long: Lua makes a string of its own of every value.
        """
        fields: dict[bytes, list[bytes]] = {}
        for group, sort, value in entries:
            fields.setdefault(group_name(group), []).extend((sort, value))
        while True:  # until nobody else changes what is watched, which is looked at anew each time
            with self._reporting(), self._redis.pipeline() as pipe, suppress(WatchError):
                pipe.watch(_SPACES)
                active = pipe.hget(_SPACES, space)
                generation = active or uuid4().hex.encode()
                keys = keys_of(generation)
                if step is not None:
                    _check(pipe, space, keys, step)
                pipe.multi()
                if active is None:
                    pipe.hset(_SPACES, space, generation)
                for name, items in fields.items():
                    pipe.hset(keys + name, items=items)
                names = [*fields]
                if ours := fields.get(OURS_NAME):
                    pipe.zadd(keys + ORDER, dict.fromkeys(ours[::2], 0))
                    names.append(ORDER)
                if step is not None:
                    names.append(position_name(step.partition))
                    pipe.set(keys + names[-1], _encode(step.position))
                pipe.sadd(registry_of(generation), *names)
                for of, gone in _by_space(step.deletes if step is not None else ()):
                    pipe.eval(scripts.DELETE, 1, _SPACES, of, *gone)
                pipe.execute()
                self._expected.setdefault(space, generation)
                return keys

    def _trim(self, keys: bytes, trims: Sequence[Trim]) -> None:
        whole = [group_name(trim.group) for trim in trims if not trim.keep]
        parts = [trim for trim in trims if trim.keep]
        with self._reporting(), self._redis.pipeline(transaction=False) as pipe:
            for trim in parts:
                pipe.hkeys(keys + group_name(trim.group))
            for trim, sorts in zip(parts, pipe.execute(), strict=True):
                if beyond := sorted(sorts)[trim.keep :]:
                    pipe.hdel(keys + group_name(trim.group), *beyond)
            pipe.execute()
        if whole:
            with self._reporting(), self._redis.pipeline() as pipe:
                pipe.unlink(*(keys + name for name in whole))
                pipe.srem(keys[:-1], *whole)  # a name without its key would be missed
                pipe.execute()

    # -- replacing ------------------------------------------------------------------------------

    def drop(self, space: str) -> None:
        self.swap("", space)

    def swap(self, shadow: str, space: str) -> None:
        with self._reporting():
            self._replace(keys=[_SPACES, _GARBAGE], args=[space, shadow])
        for name in (space, shadow):
            self._generations.pop(name, None)
            self._expected.pop(name, None)
        self._background.submit(self._collect)

    def _collect(self) -> None:
        """Unlink what was left behind, a little at a time; the next drop, or the next start of any
        process, goes on where this one fails or ends.
        """
        with suppress(RedisError):
            for generation in self._redis.smembers(_GARBAGE):
                registry, keys = registry_of(generation), keys_of(generation)
                while names := self._redis.srandmember(registry, _UNLINKED_AT_ONCE):
                    if self._closing.is_set():
                        return
                    with self._redis.pipeline() as pipe:
                        pipe.unlink(*(keys + name for name in names))
                        pipe.srem(registry, *names)
                        pipe.execute()
                self._redis.srem(_GARBAGE, generation)

    # -- leases ---------------------------------------------------------------------------------

    def acquire(self, name: str, owner: str, seconds: float) -> int | None:
        with self._reporting():
            token: int | None = self._acquire(
                keys=lease(name), args=[name, owner, round(seconds * 1000)]
            )
            return token

    def renew(self, name: str, owner: str, token: int, seconds: float) -> bool:
        with self._reporting():
            return bool(
                self._renew(keys=lease(name), args=[name, owner, token, round(seconds * 1000)])
            )

    def release(self, name: str, owner: str, token: int) -> None:
        self.renew(name, owner, token, 0)

    # -- the rest -------------------------------------------------------------------------------

    def close(self) -> None:
        self._closing.set()
        self._background.shutdown(cancel_futures=True)
        self._redis.close()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            # The library quotes the command, with somebody's data in it.
            reason = str(error).rpartition(" of pipeline caused error: ")[2]
            raise NotReady("asking the state", detail=f"{self._place}: {reason}") from error


def _check(pipe: Any, space: str, keys: bytes, step: _Step) -> None:
    """Watch the position, and raise `Moved` when it is not where the step begins."""
    key = keys + position_name(step.partition)
    pipe.watch(key)
    stored = pipe.get(key)
    found = None if stored is None else _decode_position(stored)
    if found != step.was:
        raise Moved(f"{space} is at {found} in partition {step.partition}, not at {step.was}")


def _by_space(places: Sequence[Place]) -> Iterator[tuple[str, list[bytes]]]:
    """Groups and sort keys in turn, of each space and not too many."""
    spaces: dict[str, list[bytes]] = {}
    for space, group, sort in places:
        spaces.setdefault(space, []).extend((group, sort))
    for space, gone in spaces.items():
        for at in range(0, len(gone), 2 * _DELETED_AT_ONCE):
            yield space, gone[at : at + 2 * _DELETED_AT_ONCE]
