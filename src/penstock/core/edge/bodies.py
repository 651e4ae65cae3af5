"""The body of a request as it arrives: kept, or only counted."""

from penstock.core.edge.chunks import Chunks
from penstock.core.edge.grammar import CHUNKED


class Body:
    __slots__ = ("_chunks", "_left", "kept", "size")

    def __init__(self, length: int, line_bytes_max: int, *, keeps: bool) -> None:
        """`length` in bytes, or `CHUNKED`; then no line between chunks may be longer than that."""
        self._chunks = Chunks(line_bytes_max) if length == CHUNKED else None
        self._left = max(length, 0)
        self.kept: bytearray | None = bytearray() if keeps else None
        self.size = 0
        """Bytes that have arrived, or are announced by the chunk in hand."""

    @property
    def complete(self) -> bool:
        return not self._left if self._chunks is None else self._chunks.done

    @property
    def to_come(self) -> float:
        """Bytes that are announced and have not arrived."""
        return self._left if self._chunks is None else float("inf")

    def take(self, arrived: bytearray) -> bool:
        """Take what is its own from the front; whether there is more of it to be taken.

        Raise a `PenstockError` for chunks that are not in the grammar.
        """
        if self._chunks is not None:
            more = self._chunks.take(arrived, self.kept)
            self.size = self._chunks.size
            return more
        piece = min(self._left, len(arrived))
        if self.kept is not None:
            self.kept += memoryview(arrived)[:piece]
        del arrived[:piece]
        self._left -= piece
        self.size += piece
        return False

    def drop(self) -> None:
        """Only count from here on."""
        self.kept = None
