"""`penstock events`: what is in the log, as lines of JSON."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import click
import msgspec

from penstock.cli.operator import data_option

if TYPE_CHECKING:
    from penstock.core.events import Codec
    from penstock.core.log import Batch
    from penstock.core.log.sqlite_reader import SqliteReader
    from penstock.core.settings import Settings

_POLL_SECONDS = 0.2


@click.command()
@click.argument("topic")
@click.option(
    "--from",
    "first",
    type=click.IntRange(min=0),
    help="Number to begin at.  [default: the oldest that is kept]",
)
@click.option("--limit", type=click.IntRange(min=1), help="Print at most so many lines.")
@click.option("--follow", is_flag=True, help="Go on with what is added, until interrupted.")
@data_option
def events(
    topic: str, first: int | None, limit: int | None, data: str | None, *, follow: bool
) -> None:
    """Print the events of TOPIC, a line of JSON for each.

    It reads the embedded log, beside a serving process too. `number` is its place in the topic,
    `time` when the log took it, `type` the fact and its version. A record that is no event has
    `undecodable`, its bytes in hex; a range that cannot be read any more has `next` and `damaged`,
    one that was to be kept no longer `next` and `forgotten`.
    """
    import apsw  # noqa: PLC0415 - heavy

    from penstock.core import engines  # noqa: PLC0415 - heavy
    from penstock.core.errors import PenstockError  # noqa: PLC0415 - heavy
    from penstock.core.log.disk import failed_open  # noqa: PLC0415 - heavy
    from penstock.core.log.sqlite_reader import SqliteReader  # noqa: PLC0415 - heavy
    from penstock.main import read_settings  # noqa: PLC0415 - heavy

    settings = read_settings(os.environ, {} if data is None else {"data": data})
    path = engines.log_file(settings)
    try:
        with closing(SqliteReader(path)) as reader:
            codec = _codec(topic, reader, settings)
            for line in islice(_lines(reader, topic, codec, first, follow=follow), limit):
                sys.stdout.write(line)
        sys.stdout.flush()
    except apsw.Error as error:
        raise PenstockError(failed_open(path, error, "reading")) from error
    except (
        BrokenPipeError
    ):  # whoever read has seen enough; Python must not flush into it at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _codec(topic: str, reader: "SqliteReader", settings: "Settings") -> "Codec[Any]":
    """Raise `NotFound`, of a topic that the log has and no application knows too: nobody else could
    say what its records are.
    """
    from penstock.core.errors import NotFound  # noqa: PLC0415 - heavy
    from penstock.core.platform.unserved import remedy  # noqa: PLC0415 - heavy
    from penstock.main import manifests  # noqa: PLC0415 - heavy

    known = {
        made.name: made for manifest in manifests(settings.applications) for made in manifest.topics
    }
    held = reader.topics()
    if topic in known:
        return known[topic].codec()
    if topic in held:
        raise NotFound(f"{topic} is of no application that is served; {remedy([topic])}")
    raise NotFound(f"there is no topic {topic}; there are {', '.join(sorted({*known, *held}))}")


def _lines(
    reader: "SqliteReader",
    topic: str,
    codec: "Codec[Any]",
    first: int | None,
    *,
    follow: bool,
) -> Iterator[str]:
    start = reader.start(topic)
    if first is not None and first < start:
        yield _line({"number": first, "next": start, "forgotten": True})
    position = max(first or 0, start)
    while True:
        batches = reader.blocks(topic, position)
        for batch in batches:
            yield from _told(batch, codec)
            position = batch.next
        if not batches:
            if not follow:
                return
            sys.stdout.flush()
            time.sleep(_POLL_SECONDS)


def _told(batch: "Batch", codec: "Codec[Any]") -> Iterator[str]:
    at = datetime.fromtimestamp(batch.appended_at_ms / 1000, UTC)
    spelled = f"{at:%Y-%m-%dT%H:%M:%S}.{batch.appended_at_ms % 1000:03d}Z"
    found: list[tuple[int, dict[str, object]]] = [
        (number, {"number": number, "time": spelled, **_event(payload, codec)})
        for number, payload in zip(batch.offsets, batch.payloads, strict=True)
    ]
    found += [
        (damage.first, {"number": damage.first, "next": damage.next, **_why(damage.reason)})
        for damage in batch.damages
    ]
    for _, line in sorted(found, key=lambda one: one[0]):
        yield _line(line)


def _why(reason: str) -> dict[str, object]:
    from penstock.core.log import FORGOTTEN  # noqa: PLC0415 - heavy

    return {"forgotten": True} if reason == FORGOTTEN else {"damaged": reason}


def _line(told: dict[str, object]) -> str:
    return msgspec.json.encode(told).decode() + "\n"


def _event(payload: bytes, codec: "Codec[Any]") -> dict[str, object]:
    from penstock.core.events import Undecodable  # noqa: PLC0415 - heavy
    from penstock.core.events.shown import shown  # noqa: PLC0415 - heavy

    try:
        project, event = codec.read(payload)
    except Undecodable:
        return {"undecodable": payload.hex()}
    fact = event.__struct_config__.tag
    return {"project": project, "type": fact, "event": shown(event)}
