"""The table of a mirror, as far as it is of one partition: rows that go in, and what is there."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any
from uuid import uuid4

import msgspec

from penstock.core.log import RECORD_BITS
from penstock.core.projection import Fold, marks
from penstock.core.projects import key_of, own_key, project_of
from penstock.core.warehouse import BadRows, Warehouse

_NOT_TEXT = "\x00"
_encode = msgspec.json.Encoder().encode


class MirrorTable:
    """For one thread at a time."""

    def __init__(
        self,
        fold: Fold[Any, Any],
        warehouse: Callable[[], Warehouse],
        *,
        table: str,
        partition: int,
    ) -> None:
        """`warehouse` may raise `NotReady`, as all that asks it does."""
        assert fold.mirror is not None
        self.rows = 0
        """That went in, since the process started."""
        self.refused: tuple[bytes, Exception] | None = None
        """The key of the last row that could not go in, and why."""
        self._decode = fold.decode
        self._mirror = fold.mirror
        self._warehouse = warehouse
        self._name = table
        self._partition = partition
        self._nothing = [None] * len(fold.mirror.columns.__struct_fields__)
        self._run = ""

    def begin(self) -> None:
        """What a stop left of the tokens before proves nothing: others from now on."""
        self._run = uuid4().hex

    def put(self, versions: Mapping[bytes, int], states: Mapping[bytes, bytes]) -> set[bytes]:
        """Rows of these keys, whose states may be empty; the keys of those that could not go in."""
        lines, bad = dict[bytes, bytes](), set[bytes]()
        for key, version in versions.items():
            try:
                lines[key] = self._line(key, version, self._row(key, states[key]))
            except Exception as error:  # noqa: BLE001 - whatever the application raises
                bad.add(key)
                self.refused = key, error
        return bad | self._insert(lines)

    def forget(self, versions: Mapping[bytes, int]) -> None:
        """Rows that say so of these keys."""
        self._insert({key: self._line(key, version, None) for key, version in versions.items()})

    def version(self) -> int:
        """The highest that is there."""
        rows = self._warehouse().query(
            f"SELECT max(version) FROM {self._name} "
            f"WHERE bitShiftRight(log_offset, {RECORD_BITS}) = {{partition:UInt32}}",
            {"partition": self._partition},
        )
        return int(str(rows[0][0] or 0))

    def known(self, limit: int) -> Iterator[dict[bytes, int]]:
        """Keys that are there and not forgotten, and their versions; so many at once."""
        project = key = ""
        while rows := self._warehouse().query(
            f"SELECT project, key, version FROM {self._name} FINAL "
            f"WHERE bitShiftRight(log_offset, {RECORD_BITS}) = {{partition:UInt32}} "
            "AND (project, key) > ({project:String}, {key:String}) "
            f"ORDER BY project, key LIMIT {limit}",
            {"partition": self._partition, "project": project, "key": key},
        ):
            project, key = str(rows[-1][0]), str(rows[-1][1])
            yield {_group(str(of), str(text)): int(str(version)) for of, text, version in rows}

    def _row(self, key: bytes, state: bytes) -> msgspec.Struct | None:
        if not state:
            return None
        row = self._mirror.row(own_key(project_of(key), key), self._decode(state))
        columns = self._mirror.columns
        if row is not None and type(row) is not columns:
            raise ValueError(f"a row is a {columns.__name__}, not a {type(row).__name__}")
        return row

    def _line(self, key: bytes, version: int, row: msgspec.Struct | None) -> bytes:
        project = project_of(key)
        text = _text(own_key(project, key))
        number = marks.number_of(self._partition, version)
        own: Iterable[Any] = self._nothing if row is None else msgspec.structs.astuple(row)
        return _encode([number, project, text, *own, version, int(row is None)])

    def _insert(self, lines: Mapping[bytes, bytes]) -> set[bytes]:
        """Keys whose rows the engine refuses; the others are in. The same rows have the same token,
        as long as nobody else was at it.
        """
        if not lines:
            return set()
        rows = b"\n".join(lines.values()) + b"\n"
        token = f"{self._run}:{blake2b(rows, digest_size=16).hexdigest()}"
        try:
            self._warehouse().insert(self._name, rows, len(lines), token, self._mirror.names)
        except BadRows as error:
            return self._halved([*lines], lines, error)
        self.rows += len(lines)
        return set()

    def _halved(
        self, keys: Sequence[bytes], lines: Mapping[bytes, bytes], error: BadRows
    ) -> set[bytes]:
        if len(keys) == 1:
            self.refused = keys[0], error
            return {keys[0]}
        halves = keys[: len(keys) // 2], keys[len(keys) // 2 :]
        return set().union(*(self._insert({key: lines[key] for key in half}) for half in halves))


def _text(key: bytes) -> str:
    """A key as the column has it: as it is, if it is text."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return _NOT_TEXT + key.hex()
    return _NOT_TEXT + key.hex() if text.startswith(_NOT_TEXT) else text


def _group(project: str, text: str) -> bytes:
    """Whose row has this key."""
    own = bytes.fromhex(text[1:]) if text.startswith(_NOT_TEXT) else text.encode()
    return key_of(project, own)
