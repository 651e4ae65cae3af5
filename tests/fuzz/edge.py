"""Any bytes at all, in any pieces, to both hosts: the same comes of them, and nothing breaks.

`make fuzz` runs this file under atheris, which looks for bytes that reach new lines of the edge.
"""

import asyncio
import sys
from itertools import pairwise
from pathlib import Path
from types import FunctionType

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from penstock.core.edge.asgi import Edge
from penstock.core.edge.connection import Connection
from penstock.core.edge.endpoints import Desk
from penstock.core.edge.heads import Heads
from penstock.core.edge.lane import LaneConnection, LaneCycle
from support.answers import VARIES, Answered, parse
from support.pipes import Exchange, Host

WATCHED = (Connection, LaneConnection, LaneCycle, Heads, Edge, Desk, RequestResponseCycle)
"""Whose branches lead the fuzzer."""
CORPUS = Path(__file__).with_name("corpus")
_CUTS_MAX = 8
_REFUSALS = {400, 413, 415, 431}
_DEFECT = b"\r\n\r\nInternal Server Error"
"""What uvicorn answers for an exception that left the application; ours are answered in JSON."""


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


class Hosts:
    def __init__(self) -> None:
        self._lane = Host(asyncio.new_event_loop(), lane=True)
        self._asgi = Host(asyncio.new_event_loop(), lane=False)

    def try_out(self, *connections: list[bytes]) -> list[list[Answered]]:
        """The answers on each connection. Raise `AssertionError` if the hosts do not agree."""
        exchanges = zip(self._lane.serve(*connections), self._asgi.serve(*connections), strict=True)
        return [agreed(lane, asgi) for lane, asgi in exchanges]

    def close(self) -> None:
        self._lane.close()
        self._asgi.close()


def agreed(lane: Exchange, asgi: Exchange) -> list[Answered]:
    assert _DEFECT not in lane.answered + asgi.answered
    # The lane parses no head twice, so only the other host knows all methods.
    ours, theirs = (
        parse(VARIES.sub(b"", exchange.answered), asgi.methods) for exchange in (lane, asgi)
    )
    assert (lane.stored, lane.closed) == (asgi.stored, asgi.closed)
    if lane.closed and {answer.status for answer in ours[-1:] + theirs[-1:]} <= _REFUSALS:
        # Torn and refusable at once: which of the two is said depends on which was seen first.
        assert ours[:-1] == theirs[:-1]
    else:
        assert ours == theirs
        assert lane.account == asgi.account
    return ours


def main() -> None:
    import atheris  # noqa: PLC0415 - there are Pythons and machines that it is not made for

    hosts = Hosts()

    def try_out(data: bytes) -> None:
        pieces = unpacked(data)
        hosts.try_out(pieces, pieces)  # a second time, when heads are known

    for watched in WATCHED:
        for name, function in vars(watched).copy().items():
            if isinstance(function, FunctionType):
                setattr(watched, name, atheris.instrument_func(function))
    atheris.Setup(sys.argv, try_out)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
