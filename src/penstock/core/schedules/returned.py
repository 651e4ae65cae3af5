"""What a run returned is kept before it goes to brokers, where it may come to lie in parts only.

An interval that is run again may return something else. So that the log has what one of its runs
returned, and whole, whoever runs it later says what the first of them kept.
"""

from collections.abc import Sequence

import msgspec

from penstock.core.errors import Moved
from penstock.core.log import Append, Origin
from penstock.core.position import Position
from penstock.core.state import OURS, Entry, State

SPACE = f"{OURS}returned."
_Kept = tuple[int, list[tuple[str, list[bytes], list[bytes]]]]
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Kept).decode


class Returned:
    """Of each schedule the newest, and the newest of those that were run out of their order."""

    def __init__(self, state: State) -> None:
        self._state = state

    def first(self, schedule: str, origin: Origin, appends: Sequence[Append]) -> Sequence[Append]:
        """What is to be said of the interval: these, or what was kept of it before; nothing where
        a later one has been said already. Raise `NotReady`.
        """
        space, group = SPACE + schedule, b"alone" if origin.alone else b"in order"
        [number] = {*origin.numbers}
        while True:
            was = self._state.position(space, 0)
            [stored] = self._state.get_many(space, [group])
            if stored is not None:
                known, kept = _unpack(stored)
                if known == number:
                    return [_made(origin, *one) for one in kept]
                if known > number and not origin.alone:
                    return ()
            value = _pack((number, [(a.topic, a.payloads, a.keys) for a in appends]))
            position = Position(space, 1 if was is None else was.next + 1)
            try:
                entries = [Entry(group, b"", value)]
                self._state.apply(space, entries, partition=0, was=was, position=position)
            except Moved:
                continue  # somebody else runs it too, and was first
            return appends


def _made(origin: Origin, topic: str, payloads: list[bytes], keys: list[bytes]) -> Append:
    numbers = [*origin.numbers] * len(payloads)
    return Append(topic, payloads, keys, origin=origin._replace(numbers=numbers))
