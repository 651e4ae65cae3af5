"""Any bytes at all, in any pieces: nothing breaks, and heads that are remembered change nothing.

`make fuzz` runs this file under atheris, which looks for bytes that reach new lines of the edge.
"""

import asyncio
import sys
from itertools import pairwise
from pathlib import Path
from types import FunctionType

from penstock.core.edge import grammar
from penstock.core.edge.bodies import Body
from penstock.core.edge.chunks import Chunks
from penstock.core.edge.connection import Connection
from penstock.core.edge.connections import Connections
from penstock.core.edge.dispatcher import Dispatcher
from penstock.core.edge.exchange import Exchange as Answering
from penstock.core.edge.heads import Heads
from support.answers import VARIES, Answered, parse
from support.pipes import Exchange, Served

WATCHED = (Connection, Answering, Body, Chunks, Heads, Dispatcher, Connections, grammar)
"""Whose branches lead the fuzzer."""
CORPUS = Path(__file__).with_name("corpus")
_CUTS_MAX = 8


def packed(stream: bytes, cuts: list[int]) -> bytes:
    """What `unpacked` makes these pieces of."""
    return bytes([len(cuts)]) + b"".join(cut.to_bytes(2, "big") for cut in cuts) + stream


def unpacked(data: bytes) -> list[bytes]:
    """The pieces that some bytes of the fuzzer stand for: the cuts first, then what is cut."""
    count = data[0] % (_CUTS_MAX + 1) if data else 0
    stream = data[1 + 2 * count :]
    numbers = data[1 : 1 + 2 * count]
    cuts = {int.from_bytes(numbers[at : at + 2], "big") for at in range(0, len(numbers), 2)}
    bounds = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    return [stream[low:high] for low, high in pairwise(bounds)]


class Edges:
    def __init__(self) -> None:
        self._remembering = Served(asyncio.new_event_loop(), remembers=True)
        self._parsing = Served(asyncio.new_event_loop(), remembers=False)

    def try_out(self, *connections: list[bytes]) -> list[list[Answered]]:
        """The answers on each connection. Raise `AssertionError` if the two do not agree."""
        exchanges = zip(
            self._remembering.serve(*connections), self._parsing.serve(*connections), strict=True
        )
        return [agreed(remembering, parsing) for remembering, parsing in exchanges]

    def close(self) -> None:
        self._remembering.close()
        self._parsing.close()


def agreed(remembering: Exchange, parsing: Exchange) -> list[Answered]:
    # Who parses no head twice does not know all methods.
    ours, theirs = (
        parse(VARIES.sub(b"", exchange.answered), parsing.methods)
        for exchange in (remembering, parsing)
    )
    assert ours == theirs
    assert (remembering.stored, remembering.closed) == (parsing.stored, parsing.closed)
    assert remembering.account == parsing.account
    return ours


def main() -> None:
    import atheris  # noqa: PLC0415 - there are Pythons and machines that it is not made for

    edges = Edges()

    def try_out(data: bytes) -> None:
        pieces = unpacked(data)
        edges.try_out(pieces, pieces)  # a second time, when heads are known

    for watched in WATCHED:
        for name, function in vars(watched).copy().items():
            if isinstance(function, FunctionType):
                setattr(watched, name, atheris.instrument_func(function))
    atheris.Setup(sys.argv, try_out)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
