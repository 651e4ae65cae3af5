"""What projections may yet ask the log for: before it is trimmed, whoever trims wants to know.

A process that carries projections beside the one that writes the log tells it in a file next to the
log. What it told may be old, but never says too much: positions only grow.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import msgspec

from penstock.core.log import Follow
from penstock.core.projection.runner import Consumer

FILE = "needs.json"
UNKNOWN = "a process that has not told yet"


class Needs(msgspec.Struct, frozen=True):
    """Of one topic."""

    log: str
    """Its identity: what is needed of another one says nothing."""
    first: dict[str, int]
    """By projection, the oldest number that it may yet ask for."""


def needed(consumers: Iterable[Consumer], topic: str) -> dict[str, int]:
    """By those that have begun. The embedded log has one partition."""
    found = {}
    for consumer in consumers:
        if consumer.projection.topic.name == topic and (first := consumer.needed(0)) is not None:
            found[consumer.projection.name] = first
    return found


def tell(file: Path, consumers: Collection[Consumer], follow: Follow) -> None:
    """Replace what the file says of these projections."""
    said = _read(file)
    for topic in {consumer.projection.topic.name for consumer in consumers}:
        log, first = follow.identity(topic), needed(consumers, topic)
        if topic in said and said[topic].log == log:
            first = {**said[topic].first, **first}
        said[topic] = Needs(log, first)
    partial = file.with_name(file.name + ".partial")
    partial.write_bytes(msgspec.json.encode(said))
    partial.replace(file)


def told(
    file: Path, topic: str, projections: Collection[str], log: str
) -> Mapping[str, int] | None:
    """What the file says of projections that read the topic; None where it says nothing."""
    said = _read(file).get(topic)
    if said is None or said.log != log:
        return None
    return {name: first for name, first in said.first.items() if name in projections}


def _read(file: Path) -> dict[str, Needs]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Needs])
    except (OSError, msgspec.MsgspecError):  # not yet, or not after a power cut
        return {}
