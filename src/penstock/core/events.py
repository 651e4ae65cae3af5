"""Events are facts: frozen structs, encoded once at the edge and decoded once per projection.

On the wire an event is a MessagePack array whose first element names the fact and its version
(`tag_recorded/1`). A version is append-only: new fields go to the end and have a default, so
every record ever written stays readable.
"""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

from penstock.core.errors import PenstockError


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=False):
    """Base of all events. Subclass with `tag="<fact>/<version>"`."""


E = TypeVar("E", bound=Event)


class Undecodable(PenstockError):
    """A stored record is not one of the topic's events."""


class Codec(Generic[E]):
    """Bytes of one topic's records, and back."""

    def __init__(self, types: Sequence[type[E]]) -> None:
        union: Any = types[0]
        for other in types[1:]:
            union = union | other
        self.encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(union).decode

    def decode(self, payload: bytes) -> E:
        """Raise `Undecodable` for bytes that are not an event of this topic."""
        try:
            event: E = self._decode(payload)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise Undecodable(f"decoding a record: {error}") from error
        return event
