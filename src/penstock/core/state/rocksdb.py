"""The embedded state: RocksDB, a column family per space.

Indexes append entries of random groups. In a B-tree each is a page of its own to read, dirty and
write back; in a log-structured tree it is a sequential write (docs/decisions/0004 has the figures).
"""

import logging
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import rocksdict
from rocksdict import CompactOptions, Options, Rdict, WriteBatch

from penstock.core.errors import Damaged, Misconfigured, Moved, NotReady, PenstockError
from penstock.core.folder import bytes_of, identity_of
from penstock.core.state import OURS, Entry, History, Place, Position, Trim
from penstock.core.state.rocksdb_keys import LENGTH, behind, history, prefix, walk

_BLOCK_CACHE_BYTES = 64 << 20
_WRITE_BUFFER_BYTES = 32 << 20
_LEVEL_BASE_BYTES = 512 << 20
"""Fewer levels are fewer places to look: two up to ten times this, a third beyond."""
_SIZES = ("rocksdb.total-sst-files-size", "rocksdb.cur-size-all-mem-tables")
_BLOCK_BYTES = 16 << 10
_BLOOM_BITS = 10
"""Of a key: one question of a hundred for what is not there looks into a file."""
_CORRUPTION = "Corruption"
"""Begins what the engine says of a damage, which it has proved then."""
_BROKEN = (
    "the state is damaged, and this cannot be mended while it is in use: stop, move its folder "
    "away, and the next start rebuilds it from the log"
)
_log = logging.getLogger(__name__)

_decode_position = msgspec.msgpack.Decoder(Position).decode
_encode = msgspec.msgpack.Encoder().encode


class RocksState:
    def __init__(self, path: Path, spaces: Iterable[str] = ()) -> None:
        """Raise `Misconfigured` when the folder cannot be used, or is in use.

        `spaces` will be written to, and are made now: that takes several syncs, 15 to 130 ms, in
        which the engine keeps the interpreter from everybody.
        """
        self._path = path
        self._cache = rocksdict.Cache(_BLOCK_CACHE_BYTES)
        self._lock = threading.Lock()
        self._compactor = ThreadPoolExecutor(1, "penstock-compact")
        self._to_compact: set[str] = set()
        options = self._options()
        try:
            path.mkdir(parents=True, exist_ok=True)
            names = Rdict.list_cf(str(path), options) if (path / "CURRENT").exists() else []
            families = {name: self._options(name) for name in names}
            self._db = Rdict(str(path), options, families or None)
            deque(walk(self._db), 0)  # names and positions: without them there is nothing else
        except Exception as error:  # the binding raises plain Exception
            raise Misconfigured(f"opening the state {path}: {error}; {_remedy(error)}") from error
        self._known = identity_of(path)
        self._families = {
            name: self._db.get_column_family(name) for name in names if name != "default"
        }
        """Column families by their own name; `_family` resolves a space to one."""
        self._unreadable: dict[str, str] = {}
        """Column families in which a damage was met."""
        self._moving = threading.Lock()
        """Held by whoever compares a position with the one that it goes on from, and writes."""
        self._broken = ""
        """Said where one was met that no rebuild of a view mends."""
        self._names: dict[str, str] = {}
        """What `_active` has read: asked with every look-up, changed with every rebuild."""
        try:
            for space in spaces:
                self._family(space, create=True)
        except NotReady as error:
            self.close()
            raise Misconfigured(f"opening the state {path}: {error}; {_remedy(error)}") from error

    def position(self, space: str, partition: int) -> Position | None:
        found = self._db.get(_position_key(self._active(space), partition))
        return None if found is None else _decode_position(found)

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
        self._check(space, partition, was)
        family = self._family(space, create=True)
        name = self._active(space)
        handle = self._db.get_column_family_handle(name)
        batch = WriteBatch(raw_mode=True)
        put = batch.put
        for group, sort, value in entries:
            put(LENGTH.pack(len(group)) + group + sort, value, handle)
        for place in deletes:
            if self._family(place.space) is not None:
                of = self._db.get_column_family_handle(self._active(place.space))
                batch.delete(prefix(place.group) + place.sort, of)
        put(_position_key(name, partition), _encode(position))
        with self._moving:
            self._check(space, partition, was)
            self._write(batch)
        try:
            for trim in trims:
                self._trim(family, trim)
        except Exception as error:  # the binding raises plain Exception
            raise self._unread(space, error) from error

    def lacking(self, space: str) -> str:
        return self._unreadable.get(self._active(space), "")

    def ping(self) -> None:
        """Files that are open answer right though they are gone; those that are made anew fail."""
        try:
            gone = identity_of(self._path) != self._known or not (self._path / "CURRENT").exists()
        except OSError:
            gone = True
        if gone:
            raise NotReady(
                "the folder of the state is gone: put it back, or restart, and it is made again",
                detail=str(self._path),
            )
        if self._broken:
            raise NotReady(self._broken, detail=str(self._path))

    def first(
        self, space: str, groups: Sequence[bytes], limit: int, start: bytes = b""
    ) -> list[History]:
        family = self._family(space)
        if family is None:
            return [[] for _ in groups]
        try:
            return [history(family, group, limit, start) for group in groups]
        except Exception as error:  # the binding raises plain Exception
            raise self._unread(space, error) from error

    def get_many(self, space: str, groups: Sequence[bytes]) -> list[bytes | None]:
        family = self._family(space)
        if family is None or not groups:
            return [None] * len(groups)
        try:
            if len(groups) == 1:  # who asks of one asks often: a list takes a microsecond more
                return [family.get(prefix(groups[0]))]
            return list(family.get([prefix(group) for group in groups]) or ())
        except Exception as error:  # the binding raises plain Exception
            raise self._unread(space, error) from error

    def values(
        self, space: str, groups: Sequence[bytes], sorts: Sequence[bytes]
    ) -> list[list[bytes | None]]:
        family, size = self._family(space), len(sorts)
        if family is None or not groups or not sorts:
            return [[None] * size for _ in groups]
        keys: list[Any] = [front + sort for front in map(prefix, groups) for sort in sorts]
        try:
            found = list(family.get(keys) or ())
        except Exception as error:  # the binding raises plain Exception
            raise self._unread(space, error) from error
        return [found[start : start + size] for start in range(0, len(found), size)]

    def put(self, space: str, entry: Entry) -> None:
        self._family(space, create=True)
        batch = WriteBatch(raw_mode=True)
        handle = self._db.get_column_family_handle(self._active(space))
        batch.put(prefix(entry.group) + entry.sort, entry.value, handle)
        self._write(batch)
        with self._writing():  # of all ways to sync this alone does not keep the interpreter
            self._db.flush_wal(sync=True)

    def delete(self, space: str, group: bytes, sort: bytes = b"") -> None:
        family = self._family(space)
        if family is not None:
            with self._writing():
                family.delete(prefix(group) + sort)

    def scan(self, space: str) -> Iterator[Entry]:
        family = self._family(space)
        if family is None:
            return
        try:
            for key, value in walk(family):
                start = LENGTH.size
                end = start + LENGTH.unpack_from(key)[0]
                yield Entry(key[start:end], key[end:], value)
        except Exception as error:  # the binding raises plain Exception
            raise self._unread(space, error) from error

    def spaces(self) -> list[str]:
        found: list[str] = []
        start = _active_key("")
        for key, value in walk(self._db, start, behind(start)):
            if value.decode() in self._families:
                found.append(key[len(start) :].decode())
        return found

    def drop(self, space: str) -> None:
        with self._lock, self._writing():
            self._forget(self._active(space))

    def swap(self, shadow: str, space: str) -> None:
        self._family(shadow, create=True)  # an empty one too must not share the shadow's name
        with self._lock, self._writing():
            old, new = self._active(space), self._active(shadow)
            batch = WriteBatch(raw_mode=True)
            batch.put(_active_key(space), new.encode())
            batch.delete(_active_key(shadow))
            self._write(batch)
            self._names.clear()
            if old != new:
                self._forget(old)

    @property
    def folder(self) -> Path:
        return self._path

    def bytes_of(self, space: str) -> int:
        family = self._family(space)
        if family is None:
            return 0
        return sum(int(family.property_int_value(part) or 0) for part in _SIZES)

    def bytes_on_disk(self) -> int:
        return bytes_of(self._path)

    def compact(self, space: str) -> None:
        with self._lock:
            if space not in self._to_compact:
                self._to_compact.add(space)
                self._compactor.submit(self._compact, space)

    def close(self) -> None:
        for family in self._families.values():
            with suppress(Exception):  # what is damaged is not flushed, and the log has it
                family.close()
        with suppress(Exception):
            self._db.flush()
        self._db.cancel_all_background(wait=False)  # a compaction may take minutes
        self._compactor.shutdown(cancel_futures=True)
        with suppress(Exception):  # it would flush once more, and may not any longer
            self._db.close()

    def _check(self, space: str, partition: int, was: Position | None) -> None:
        if (found := self.position(space, partition)) != was:
            raise Moved(f"{space} is at {found} in partition {partition}, not at {was}")

    def _active(self, space: str) -> str:
        """Name of the column family that holds a space; the space's own while it has none."""
        known = self._names.get(space)
        if known is None:
            named = self._db.get(_active_key(space))
            if named is None:
                return space
            known = self._names[space] = bytes(named).decode()
        return known

    def _family(self, space: str, *, create: bool = False) -> Rdict | None:
        name = self._active(space)
        family = self._families.get(name)
        if family is None and create:
            with self._lock, self._writing():
                name = self._active(space)
                family = self._families.get(name)
                if family is not None:  # another thread has made it meanwhile
                    return family
                if name == space:
                    name = f"{space}@{uuid4().hex[:8]}"
                    self._db.put(_active_key(space), name.encode())
                family = self._db.create_column_family(name, self._options(name))
                self._families[name] = family
        return family

    def _forget(self, name: str) -> None:
        family = self._families.pop(name, None)
        if family is None:
            return
        family.close()
        self._db.drop_column_family(name)
        self._db.delete_range(_position_key(name, 0), _position_key(name, 0xFFFF))

    def _compact(self, space: str) -> None:
        """Into a single sorted run: a look-up visits every one there is.

        What lies in the lowest level and meets nothing from above is one already, and is skipped.
        """
        with self._lock:
            self._to_compact.remove(space)
            name = self._active(space)
            if name not in self._families:
                return
            family = self._db.get_column_family(name)  # of its own: it may be dropped meanwhile
        options = CompactOptions()
        options.set_exclusive_manual_compaction(v=False)
        options.set_bottommost_level_compaction(rocksdict.BottommostLevelCompaction.skip())
        try:
            family.compact_range(None, None, options)
        except Exception:  # noqa: BLE001 - plain `Exception`; nobody looks at what is submitted
            _log.warning("compacting %s: look-ups stay slower until it is", space, exc_info=True)
        finally:
            family.close()

    def _trim(self, family: Rdict | None, trim: Trim) -> None:
        if family is None:
            return
        beyond = history(family, trim.group, trim.keep + 1)[trim.keep :]
        if beyond:
            start = prefix(trim.group)
            family.delete_range(start + beyond[0][0], behind(start))

    def _unread(self, space: str, error: Exception) -> NotReady:
        if not str(error).startswith(_CORRUPTION):
            return NotReady("reading the state", detail=f"{self._path}: {error}")
        if space.startswith(OURS):
            self._broken = _BROKEN
            return NotReady(_BROKEN, detail=f"{self._path}: {error}")
        self._unreadable[self._active(space)] = "files of the state are damaged"
        return Damaged(space, self.lacking(space))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Raise `NotReady` for what the engine says. Once it has met a damage while it arranged its
        files, whatever space they are of, it takes nothing any more.
        """
        try:
            yield
        except PenstockError:
            raise
        except Exception as error:  # the binding raises plain Exception
            if str(error).startswith(_CORRUPTION):
                self._broken = _BROKEN
            why = self._broken or "writing the state"
            raise NotReady(why, detail=f"{self._path}: {error}") from error

    def _write(self, batch: WriteBatch) -> None:
        with self._writing():
            self._db.write(batch)

    def _options(self, name: str = "") -> Options:
        """Of a column family. Ours are mostly asked for what they do not have."""
        options = Options(raw_mode=True)
        options.create_if_missing(create_if_missing=True)
        options.set_env(_considerate())
        options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
        options.set_max_write_buffer_number(3)
        options.set_max_background_jobs(2)
        options.set_max_bytes_for_level_base(_LEVEL_BASE_BYTES)
        options.set_level_compaction_dynamic_level_bytes(v=True)
        options.set_compression_type(rocksdict.DBCompressionType.lz4())
        options.set_keep_log_file_num(4)
        options.set_max_total_wal_size(8 * _WRITE_BUFFER_BYTES)
        table = rocksdict.BlockBasedOptions()
        table.set_block_cache(self._cache)
        table.set_block_size(_BLOCK_BYTES)
        if name.startswith(OURS):
            table.set_bloom_filter(_BLOOM_BITS, block_based=False)
        options.set_block_based_table_factory(table)
        return options


def _considerate() -> rocksdict.Env:
    """Compaction takes whole cores in bursts; it gives way to those who wait for an answer."""
    environment = rocksdict.Env()
    environment.lower_thread_pool_cpu_priority()
    return environment


def _position_key(family: str, partition: int) -> bytes:
    return b"position/" + family.encode() + b"/" + LENGTH.pack(partition)


def _active_key(space: str) -> bytes:
    return b"active/" + space.encode()


def _remedy(error: Exception) -> str:
    """To give the folder up is said only where its damage is proved."""
    if str(error).startswith(_CORRUPTION):
        return "it is damaged: move the folder away, and the next start rebuilds it from the log"
    return (
        "check that no other process has it, that this user may write it and what is in it, and "
        "that the disk is not full"
    )
