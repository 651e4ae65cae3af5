"""What the server holds before a run: nothing, or the beginning of the stream and nothing else.

Answers are graded against what was sent, so any other event makes correct answers wrong.
"""

import sys
from pathlib import Path

import msgspec

from penstock.load.asking import Asker
from penstock.load.chaos import ServerNotReady
from penstock.load.client import Endpoint, Failure
from penstock.load.workload import Workload

_TIMEOUT_SECONDS = 10.0
_OK = 200


class NotEmpty(Exception):
    """The server holds other events than the run is graded against."""


class _Topic(msgspec.Struct, frozen=True):
    topic: str
    end: int | None = None


class _Pipeline(msgspec.Struct, frozen=True):
    topics: list[_Topic]


async def check_holding(endpoint: Endpoint, workload: Workload, events: int) -> None:
    """Raise `NotEmpty` where the server holds more or fewer events, `ServerNotReady` where nobody
    answers. Only a line tells of a server that has no answer to this question.
    """
    asker = Asker(endpoint, connections=1, timeout_seconds=_TIMEOUT_SECONDS)
    try:
        exchange = await asker.get("/api/pipeline")
    finally:
        await asker.close()
    if exchange.status == Failure.CONNECT:
        hint = "; --ca names the certificates that vouch for it" if endpoint.tls else ""
        raise ServerNotReady(f"no connection to {endpoint.url}: {asker.trouble}{hint}")
    if exchange.status < 0:
        raise ServerNotReady(
            f"{endpoint.url} does not answer; does it speak http:// or https://, or is it busy?"
        )
    held = _held(exchange.body, workload.topic) if exchange.status == _OK else None
    if held is None:
        sys.stderr.write(
            f"whether it holds anything cannot be asked: {endpoint.url}/api/pipeline says "
            f"{exchange.status}; the answers are exact only if it held {events} "
            f"{workload.unit}s of this stream\n"
        )
    elif held != events:
        raise NotEmpty(_remedy(endpoint.url, workload, held, events))


def _held(body: bytes, wanted: str) -> int | None:
    try:
        topics = msgspec.json.decode(body, type=_Pipeline).topics
    except msgspec.DecodeError:
        return None
    return next((topic.end for topic in topics if topic.topic == wanted), None)


def _remedy(url: str, workload: Workload, held: int, events: int) -> str:
    if events:
        return f"{url} holds {held} {workload.unit}s, and --start-index says {events}"
    program = sys.argv[0] if Path(sys.argv[0]).name == "penstock" else "penstock"
    return (
        f"{url} holds {held} {workload.unit}s already, and answers can be graded only where "
        "nobody else sends. "
        f"Start an empty one beside it, `{program} serve --data data-load --port 8090`, and go "
        f"there: `{program} load {workload.name} smoke --url http://127.0.0.1:8090`, or "
        "`make load URL=http://127.0.0.1:8090`"
    )
