"""Records that were made of records: whose they are stands in a header, and repeats are not read.

The brokers take whatever comes. So whoever reads remembers, for each partition of each source, the
last that the log had of it, and passes over what is not above that: a producer of one partition
sends what it made in ascending order and without a gap, and begins anew at something that all
readers have, so the first of each that comes is the only one that counts.

What is remembered belongs to what was read, and goes along with the proof of a position: whoever
goes on from there has it, in the very write that has the position.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple

import msgspec

from penstock.core.log import Append, Made

HEADER = "penstock-origin"
ALONE_MAX = 128
"""So many sources of which nothing else comes are remembered of a partition, the newest."""


class Said(NamedTuple):
    """What the header says."""

    source: str
    partition: int
    number: int
    nth: int
    """Which it is of all that the append has of this number."""
    attempt: bytes = b""
    alone: bool = False

    @property
    def made(self) -> Made:
        return Made(*self[:4])


_Last = tuple[int, int, bytes]
"""Number, which of it, attempt."""
_pack = msgspec.msgpack.Encoder().encode
_said = msgspec.msgpack.Decoder(Said).decode
_Stored = tuple[dict[str, dict[int, _Last]], dict[bytes, int]]
_stored = msgspec.msgpack.Decoder(_Stored).decode


def headers(append: Append) -> Sequence[bytes]:
    """One for each payload of an append that has an origin; else none."""
    if (origin := append.origin) is None:
        return ()
    made, last, index = list[bytes](), -1, 0
    for number in origin.numbers:
        index = index + 1 if number == last else 0
        last = number
        source, partition = origin.source, origin.partition
        made.append(_pack(Said(source, partition, number, index, origin.attempt, origin.alone)))
    return made


def said(found: Iterable[tuple[str, bytes]] | None) -> Said | None:
    """Of the headers of a record; None for one that was made of no other."""
    for name, value in found or ():
        if name == HEADER:
            with suppress(msgspec.MsgspecError):  # somebody else's, then
                return _said(value)
    return None


class Memory:
    """What one partition of a topic had of each source, up to where it was read."""

    def __init__(self) -> None:
        self._last: dict[str, dict[int, _Last]] = {}
        self._alone: dict[bytes, int] = {}
        """By the digest of a source of which nothing else comes; the oldest first."""
        self._text: str | None = ""

    @classmethod
    def of(cls, text: str) -> "Memory":
        """As `text` told it. Raise `ValueError` for what is none."""
        made = cls()
        if text:
            made._last, made._alone = _stored(urlsafe_b64decode(text))
            made._text = text
        return made

    def takes(self, record: Said) -> bool:
        """Whether it is the first of its kind; from now on it has been read."""
        fresh = self._takes_alone(record) if record.alone else self._takes_next(record)
        if fresh:
            self._text = None
        return fresh

    def _takes_next(self, record: Said) -> bool:
        of = self._last.setdefault(record.source, {})
        number, index, attempt = of.get(record.partition, (-1, 0, b""))
        goes_on = (record.number, record.attempt) == (number, attempt) and record.nth > index
        if record.number > number or goes_on:
            of[record.partition] = (record.number, record.nth, record.attempt)
            return True
        return False

    def _takes_alone(self, record: Said) -> bool:
        name = b"%d/%d/%b" % (record.partition, record.number, record.source.encode())
        place = blake2b(name, digest_size=8).digest()
        if record.nth <= self._alone.get(place, -1):
            return False
        self._alone[place] = record.nth
        for oldest in list(islice(self._alone, max(0, len(self._alone) - ALONE_MAX))):
            del self._alone[oldest]
        return True

    @property
    def text(self) -> str:
        """Empty where there is nothing to remember."""
        if self._text is None:
            self._text = urlsafe_b64encode(_pack((self._last, self._alone))).decode()
        return self._text
