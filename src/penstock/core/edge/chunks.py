"""A chunked body (RFC 9112, 7.1), taken apart as it arrives."""

import re

from penstock.core.edge import grammar
from penstock.core.errors import HeadersTooLarge, Rejected

_BLANK = rb"[ \t]*+"
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+"'
_SIZE = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:%(blank)b;%(blank)b%(token)b"
    rb"(?:%(blank)b=%(blank)b(?:%(token)b|%(quoted)b))?+)*+%(blank)b\r\n"
    % {b"blank": _BLANK, b"token": _TOKEN, b"quoted": _QUOTED}
)
_LINE_END = b"\r\n"
_STEPS_MAX = 64
"""Chunks that are taken in one go: each costs the same however little is in it."""


class Chunks:
    """Takes what is the body's from the front of what has arrived."""

    __slots__ = ("_left", "_line_bytes_max", "_trailer_bytes", "done", "size")

    def __init__(self, line_bytes_max: int) -> None:
        """No line of a size, and no trailers, may be longer than so many bytes."""
        self._line_bytes_max = line_bytes_max
        self._left = 0
        """Of the chunk in hand, with the line's end behind it; 0 between two of them."""
        self._trailer_bytes = -1
        """Of trailers so far; below 0 while chunks come."""
        self.size = 0
        """Bytes of the body, as far as its chunks have told theirs."""
        self.done = False

    def take(self, arrived: bytearray, body: bytearray | None) -> bool:
        """Move what can be read into `body`, or nowhere; whether to go on with what is left.

        Raise `Rejected` for what is not in the grammar, or `HeadersTooLarge`.
        """
        at = 0
        try:
            for _ in range(_STEPS_MAX):
                step = self._trailers if self._trailer_bytes >= 0 else self._chunk
                moved = step(arrived, at, body)
                if not moved:
                    return False
                at += moved
                if self.done:
                    return False
        finally:
            del arrived[:at]
        return bool(arrived)

    def _chunk(self, arrived: bytearray, at: int, body: bytearray | None) -> int:
        """Bytes that were read; 0 when more have to come first."""
        if not self._left:
            return self._size(arrived, at)
        if self._left > len(_LINE_END):
            piece = min(self._left - len(_LINE_END), len(arrived) - at)
            if body is not None:
                body += memoryview(arrived)[at : at + piece]
            self._left -= piece
            return piece
        end = arrived[at : at + len(_LINE_END)]
        if end != _LINE_END:
            if not _LINE_END.startswith(end):
                raise Rejected("a chunk is longer than it says")
            return 0
        self._left = 0
        return len(_LINE_END)

    def _size(self, arrived: bytearray, at: int) -> int:
        end = self._line(arrived, at, "a chunk's size has no end")
        if not end:
            return 0
        found = _SIZE.fullmatch(arrived, at, end)
        if found is None:
            raise Rejected("a chunk's size is malformed")
        size = int(found[1], 16)
        if size:
            self._left = size + len(_LINE_END)
            self.size += size
        else:
            self._trailer_bytes = 0
        return end - at

    def _trailers(self, arrived: bytearray, at: int, body: bytearray | None) -> int:
        del body
        end = self._line(arrived, at, "trailers have no end")
        if not end:
            return 0
        line = bytes(arrived[at:end])
        self._trailer_bytes += len(line)
        if line == _LINE_END:
            self.done = True
        elif not grammar.are_fields(line):
            raise Rejected("a trailer is malformed")
        if self._trailer_bytes > self._line_bytes_max:
            raise HeadersTooLarge
        return len(line)

    def _line(self, arrived: bytearray, at: int, endless: str) -> int:
        """Where the line ends that begins there; 0 when it has not yet."""
        end = arrived.find(b"\n", at, at + self._line_bytes_max)
        if end < 0 and len(arrived) - at >= self._line_bytes_max:
            raise HeadersTooLarge(endless)
        return end + 1
