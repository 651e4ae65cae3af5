"""The kinds of attack: what each is in words, and what the n-th of its connections does."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from attackers import requests
from attackers.behaviours import (
    Asks,
    Attacker,
    Drips,
    Holds,
    Leaves,
    Pours,
    Sips,
    Swarm,
)
from attackers.requests import (
    AGGREGATES,
    BATCH,
    BATCH_BYTES_MAX,
    DEAR_NAMES,
    TAG,
    block,
    chunked,
    get,
    opened,
    post,
)

Make = Callable[[Swarm, int], Attacker]


class Kind(NamedTuple):
    says: str
    """What each of them is at, as in `pouring pipelined tags`."""
    make: Make
    settings: Mapping[str, str] = {}
    """What makes a hundred connections enough where by default it would take thousands."""
    open_files: int = 0
    """The server's limit of them; 0: whatever it is."""
    connections_min: int = 0
    addresses: int = 20
    """From how many addresses of the loopback it comes."""

    @property
    def environment(self) -> dict[str, str]:
        return {f"PENSTOCK_{name}": value for name, value in self.settings.items()}

    @property
    def wrapper(self) -> list[str]:
        """What a server's command is to be started by."""
        limit = f'ulimit -n {self.open_files}; exec "$@"'
        return ["sh", "-c", limit, "sh"] if self.open_files else []


def _asks(*asked: bytes, at_once: int = 1) -> Make:
    """The connections begin at different ones, and go round."""
    return lambda swarm, n: Asks(swarm, asked, n % len(asked), at_once)


def _pours(opening: bytes, poured: bytes, *, reads: bool = True) -> Make:
    return lambda swarm, _: Pours(swarm, opening, poured, reads=reads)


def _holds(opening: bytes, *, half_closes: bool = False) -> Make:
    return lambda swarm, _: Holds(swarm, opening, half_closes=half_closes)


def _in_turn(*makes: Make) -> Make:
    return lambda swarm, n: makes[n % len(makes)](swarm, n)


def _dear(swarm: Swarm, n: int) -> Attacker:
    asked = [requests.dear(name) for name in DEAR_NAMES]
    return Asks(swarm, asked, n % len(asked), 1)


_NOWHERE = get(b"/")
_BARE = b"GET / HTTP/1.1\r\n\r\n"
_TAGGED = post(b"/user_tags", TAG)
_METRICS = get(b"/metrics")
_SINGLE = b"1\r\n \r\n"
_OPERATORS = [get(b"/metrics"), get(b"/readyz"), get(b"/healthz"), get(b"/api/pipeline")]
_REFUSED = [
    post(b"/user_tags", b"{"),
    post(b"/nowhere", b"x" * 1_000),
    post(b"/user_tags", TAG, b"Content-Encoding: gzip"),
    post(b"/user_tags", TAG, b"Content-Encoding: other"),
    get(b"/user_tags"),
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    _BARE,
    post(b"/user_tags", TAG, b"Transfer-Encoding: chunked"),
    post(AGGREGATES + b"x&action=NONE", b""),
    opened(b"/user_tags", 100_000_000),
]
_NEVER_READ = _METRICS * 200

KINDS: dict[str, Kind] = {
    "pipelined": Kind("pouring pipelined requests for nothing", _pours(b"", block(_NOWHERE))),
    "bare": Kind("pouring pipelined requests without a Host", _pours(b"", block(_BARE))),
    "tags": Kind("pouring pipelined tags", _pours(b"", block(_TAGGED))),
    "deaf": Kind(
        "pouring pipelined requests and reading no answer",
        _pours(b"", block(_METRICS), reads=False),
    ),
    "gone": Kind(
        "pouring pipelined requests and going", lambda s, _: Leaves(s, block(_NOWHERE), 0.05)
    ),
    "dear": Kind("sending what is small and dear to read: bombs, windows, odd batches", _dear),
    "endless": Kind(
        "sending chunks, extensions and trailers without end",
        _in_turn(
            _pours(chunked(BATCH), block(_SINGLE)),
            _pours(chunked(BATCH) + b"1;", b"a" * 65_536),
            _pours(chunked(BATCH) + b"0\r\n", b"X-A: b\r\n" * 8_192),
            _pours(b"POST /user_tags HTTP/1.1\r\n", b"X-A: b\r\n" * 8_192),
            _pours(b"", b"A" * 65_536),
        ),
    ),
    "almost": Kind(
        "sending batches that stop just before their end",
        _holds(opened(BATCH, BATCH_BYTES_MAX) + b" " * (BATCH_BYTES_MAX - 1)),
    ),
    "single": Kind(
        "sending bodies byte by byte, and stopping before their end",
        _holds(chunked(BATCH) + _SINGLE * 400_000),
    ),
    "headed": Kind(
        "sending heads whose bodies do not come",
        _holds(opened(b"/user_tags", 200)),
        settings={"REQUESTS_IN_FLIGHT_MAX": "99"},  # fewer than they are; who behaves needs 93
    ),
    "idle": Kind(
        "opening connections and saying nothing, from one address",
        _holds(b""), open_files=512, connections_min=1_000, addresses=1,
    ),
    "asleep": Kind(
        "asking once on each of many connections, from many addresses",
        _holds(_TAGGED), open_files=512, connections_min=1_000,
    ),
    "slow": Kind(
        "sending heads and bodies slowly, and reading slowly",
        _in_turn(
            lambda s, _: Drips(s, b"POST /user_tags HTTP/1.1\r\nX-A: ", b"a", 0.1),
            lambda s, _: Drips(s, opened(BATCH, 1_000_000), b" ", 0.1),
            lambda s, _: Drips(s, chunked(BATCH), _SINGLE, 0.1),
            lambda s, _: Drips(s, b"", b"\r\n", 0.1),
            lambda s, _: Sips(s, _NEVER_READ, 0.1),
        ),
    ),
    "half": Kind(
        "ending its own side in the middle, and staying",
        _in_turn(
            _holds(_TAGGED[:20], half_closes=True),
            _holds(opened(BATCH, 1_000) + b" " * 500, half_closes=True),
            _holds(_NEVER_READ, half_closes=True),
            _holds(b"", half_closes=True),
        ),
    ),
    "aggregates": Kind(
        "asking for six aggregates at once, and again",
        _asks(post(AGGREGATES + b"attack", b""), at_once=6),
    ),
    "scrapes": Kind("asking what operators ask, all the time", _asks(*_OPERATORS, at_once=4)),
    "refused": Kind("sending what is refused, each for another reason", _asks(*_REFUSED)),
    "flood": Kind("sending tags as fast as they are answered", _asks(_TAGGED)),
    "churn": Kind(
        "opening a connection for each tag",
        _asks(post(b"/user_tags", TAG, b"Connection: close")),
    ),
}  # fmt: skip
