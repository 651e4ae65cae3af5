"""The requests that a blast sends, framed beforehand, of the reference stream."""

import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import uvloop

from penstock.load.audiences.aggregates import AggregateQuery
from penstock.load.audiences.instants import STREAM_START_MS
from penstock.load.audiences.ledger import Ledger
from penstock.load.audiences.plans import Options, Plan
from penstock.load.audiences.population import populate
from penstock.load.audiences.profiles import ProfileQuery
from penstock.load.audiences.queries import QueryMix
from penstock.load.audiences.stream import Stream
from penstock.load.audiences.workload import Audiences
from penstock.load.client import Endpoint
from penstock.load.preload import preload

SINGLES = 20_000
BATCHES, BATCH_TAGS = 300, 1_000
QUERIES = 20_000


@contextmanager
def framed(kind: str) -> Iterator[Path]:
    """A file of `single` or `batch` requests for `bench.blast`."""
    stream = Stream(populate(seed=7), seed=7)
    if kind == "single":
        bodies = [(b"/user_tags", body) for body in stream.bodies(stream.block(0, SINGLES))]
    else:
        bodies = [
            (
                b"/user_tags/batch",
                b"\n".join(stream.bodies(stream.block(n * BATCH_TAGS, BATCH_TAGS))),
            )
            for n in range(BATCHES)
        ]
    with _file([_frame(path, body) for path, body in bodies]) as file:
        yield file


def preloaded(url: str, tags: int) -> Ledger:
    """Send the first tags of the reference stream, in batches, as fast as the server takes them."""
    workload = Audiences(Options(url=url), Plan(rate=None, events=tags))

    def ignore(_done: int) -> None:
        """Nobody watches."""

    uvloop.run(preload(Endpoint(url), workload, tags, ignore))
    return workload.ledger


@contextmanager
def framed_queries(ledger: Ledger, kind: str) -> Iterator[Path]:
    """A file of `profiles` or `aggregates` queries of the reference mix, over what is stored."""
    mix = QueryMix(ledger, seed=7, rate=1_000)
    queries: Iterable[ProfileQuery | AggregateQuery]
    if kind == "profiles":
        queries = (mix.profile(n, before=ledger.size) for n in range(QUERIES))
    else:
        queries = even(mix.aggregate(n, before=ledger.size) for n in range(QUERIES))
    with _file([_frame(query.target.encode(), b"") for query in queries]) as file:
        yield file


def even(queries: Iterable[AggregateQuery]) -> list[AggregateQuery]:
    """Those that ask for stored minutes only, as many of each length of range, in turns.

    Of sixteen minutes the mix asks for many that are before the first, and so for less work than of
    a long history.
    """
    by_length: dict[int, list[AggregateQuery]] = {}
    for query in queries:
        if query.from_ms >= STREAM_START_MS:
            by_length.setdefault(query.to_ms - query.from_ms, []).append(query)
    turns = zip(*(by_length[length] for length in sorted(by_length)), strict=False)
    return list(chain.from_iterable(turns))


@contextmanager
def _file(requests: list[str]) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(requests, file)
        file.flush()
        yield Path(file.name)


def _frame(path: bytes, body: bytes) -> str:
    head = (
        b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n"
    )
    return (head % (path, len(body)) + body).decode("latin-1")
