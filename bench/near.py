"""What it costs the processor to ask what a fold knows, as a handler does, of a process that has
heard of a hundred thousand keys; and of keys of which something is on its way to the fold."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec

from bench.rows import Plan, Row, verdict
from penstock.core.edge import Known, Received, Reply
from penstock.core.edge.knowing import Knowledge
from penstock.core.events import Event
from penstock.core.interface import Answer, Interface
from penstock.core.log import Append
from penstock.core.log.awaiting import stored
from penstock.core.manifest import Ingest, Manifest
from penstock.core.platform import Platform
from penstock.core.projection import Fold, Record, Step, Topic
from penstock.core.projection.flush import Flush
from penstock.main import build

_KEYS, _AHEAD = 100_000, 1_000
_ROUNDS = 9
_MOST_US = 5.0


class Clicked(Event, frozen=True, array_like=True, gc=False, tag="clicked/1"):
    shop: str
    by: str


class Clicks(msgspec.Struct, frozen=True, array_like=True, gc=False):
    count: int = 0
    cents: int = 0
    day: int = 0


def _step(clicks: Clicks, record: Record[Clicked]) -> Step[Clicks]:
    return Step(Clicks(clicks.count + 1, clicks.cents, record.at_ms // 86_400_000))


_CLICKED: Topic[Clicked] = Topic("bench.clicked", (Clicked,), key=lambda e: e.shop.encode())
_clicks: Fold[Clicked, Clicks] = Fold(
    space="bench.clicks",
    topic=_CLICKED,
    state=Clicks,
    step=_step,
    near=True,
    flush=Flush.immediate(),
)


class Settings(msgspec.Struct, frozen=True):
    """None."""


def _click(received: Received, known: Known[Settings, None]) -> Reply:
    clicks = known.get(_clicks, received.body)
    return Reply((Clicked(received.body.decode(), str(clicks.count)),))


_manifest = Manifest(
    name="bench",
    summary="Clicks.",
    settings=Settings,
    topics=(_CLICKED,),
    ingest=(
        Ingest(
            operation="bench.click",
            paths=("/click",),
            emits=(_CLICKED,),
            handle=_click,
            near=(_clicks,),
            body_bytes_max=100,
            summary="Click.",
            interface=Interface(answers=(Answer(status=204, meaning="Clicked."),)),
        ),
    ),
    projections=(_clicks,),
    package="bench",
)


class _Took(NamedTuple):
    """Microseconds of processor time."""

    stored: float
    ahead: float
    said: float


def near(plan: Plan) -> list[Row]:
    """The least of rounds, in processor time."""
    del plan
    keys = [b"shop-%d" % number for number in range(_KEYS)]
    with _serving(keys) as platform:
        took = _took(platform, keys)
    target = f"at most {_MOST_US:g} µs"
    reads = {f"of {_KEYS:,} keys": took.stored, "with an event on its way": took.ahead}
    rows = [
        Row(
            f"a near fold read {what}",
            f"{us:.1f} µs",
            target,
            verdict(target, holds=us <= _MOST_US),
        )
        for what, us in reads.items()
    ]
    return [*rows, Row("a near fold told of an event", f"{took.said:.1f} µs", "", None)]


@contextmanager
def _serving(keys: list[bytes]) -> Iterator[Platform]:
    """Once the fold has heard of every key."""
    with TemporaryDirectory() as folder:
        platform = build({}, {"data": folder}, roles=("edge", "work"), others=(_manifest,))
        try:
            platform.start()
            assert platform.log is not None
            encode = _CLICKED.codec().encode
            payloads = [encode(Clicked(key.decode(), "somebody")) for key in keys]
            stored(platform.log, [Append(_CLICKED.name, payloads)])
            cursor = platform.consumers[_clicks.name].cursors[0]
            while cursor.position < len(keys):
                time.sleep(0.01)
            yield platform
        finally:
            platform.close()


def _took(platform: Platform, keys: list[bytes]) -> _Took:
    """Nothing is said but here, so that the cursor has nothing to do."""
    nears = platform.near.nears["bench"]
    known: Any = Knowledge(None, None).asking(nears.get)
    [hearing] = nears.nearby.hearing(_CLICKED.name)
    encode = _CLICKED.codec().encode
    said = [encode(Clicked(key.decode(), "nobody")) for key in keys[:_AHEAD]]
    stored_us = _least(lambda: [known.get(_clicks, key) for key in keys[_AHEAD::7]])
    said_us = _least(lambda: [*map(hearing.take, said)], lambda: [*map(hearing.drop, said)])
    for one in said:
        hearing.take(one)
    ahead_us = _least(lambda: [known.get(_clicks, key) for key in keys[:_AHEAD]])
    assert [known.get(_clicks, key).count for key in (keys[0], keys[-1])] == [2, 1]
    return _Took(stored_us, ahead_us, said_us)


def _least(work: Callable[[], list[Any]], after: Callable[[], object] = list) -> float:
    """Of each thing done, in the best of rounds: whatever else runs only adds to it."""
    rounds = []
    for _ in range(_ROUNDS):
        began = time.thread_time()
        done = work()
        rounds.append((time.thread_time() - began) / len(done) * 1e6)
        after()
    return min(rounds)
