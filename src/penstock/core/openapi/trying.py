"""An operation's example, as it is sent: in the hour in which that is done."""

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec

from penstock.core.interface import HOUR, Offer, Parameter

LOCAL = "http://127.0.0.1:8080"
"""Where a server is as long as nobody says otherwise."""
_SPECIAL = frozenset('"$`\\!')
"""What says something between double quotes."""
_SETS_HOUR = "HOUR=$(date -u +%Y-%m-%dT%H)\n"


def hour(at_ms: int) -> str:
    """As `HOUR` is spelled; of milliseconds since 1970."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H")


class Way(NamedTuple):
    """One of the paths and methods of an operation."""

    name: str
    """The operation's own for the first one; no two have the same."""
    method: str
    path: str
    """As the document writes it: what takes the rest of a path looks like any other parameter."""

    def has(self, parameter: Parameter) -> bool:
        return parameter.place != "path" or f"{{{parameter.name}}}" in self.path


def ways(offer: Offer) -> Iterator[Way]:
    for number, path in enumerate(offer.paths, 1):
        for method in offer.methods:
            name = offer.operation
            name += f".{number}" if number > 1 else ""
            name += f".{method.lower()}" if method != offer.methods[0] else ""
            yield Way(name, method, path.replace("...}", "}"))


def target(offer: Offer, way: Way | None = None) -> str:
    """Path and query of its example."""
    way = way or next(ways(offer))
    given = offer.interface.parameters
    path = way.path
    for parameter in given:
        if parameter.place == "path":
            path = path.replace(f"{{{parameter.name}}}", quote("".join(_tried(parameter)), safe=""))
    query = [(p.name, value) for p in given if p.place == "query" for value in _tried(p)]
    return f"{path}?{urlencode(query, safe=':,')}" if query else path


def headers(offer: Offer) -> Iterator[tuple[str, str]]:
    """Those that its example needs."""
    takes = offer.interface.takes
    if takes is not None and takes.example:
        yield "Content-Type", takes.media[0]
    for parameter in offer.interface.parameters:
        if parameter.place == "header":
            yield from ((parameter.name, value) for value in _tried(parameter))


def _tried(parameter: Parameter) -> tuple[str, ...]:
    """Its example. What has to be there and has none gets a value to read: the first of its shape,
    or its own name.
    """
    if any(parameter.example) or not (parameter.required or parameter.place == "path"):
        return parameter.example
    schema = msgspec.json.schema(parameter.shape)
    schema |= schema.get("$defs", {}).get(schema.get("$ref", "").rpartition("/")[2], {})
    schema = schema.get("items", schema) or schema
    said: list[object] = [*schema.get("examples", ()), *schema.get("enum", ())]
    return (str(said[0] if said else _like(schema, parameter)),)


def _like(schema: dict[str, Any], parameter: Parameter) -> object:
    match schema.get("type"):
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return "true"
    return parameter.name


def curl(offer: Offer, url: str = LOCAL, *, way: Way | None = None) -> str:
    """Its example as a command."""
    way = way or next(ways(offer))
    takes = offer.interface.takes
    words = ["curl"] if way.method == "GET" else ["curl", "-X", way.method]
    parts = [[*words, url + target(offer, way)]]
    parts += [["-H", f"{name}: {value}"] for name, value in headers(offer)]
    if takes is not None and takes.example:
        parts.append(["--data-binary" if takes.lines else "-d", takes.example.decode()])
    spelled = " \\\n  ".join(" ".join(map(_word, part)) for part in parts)
    return (_SETS_HOUR if any(HOUR in word for part in parts for word in part) else "") + spelled


def _word(text: str) -> str:
    """A word of a shell that knows `$HOUR`."""
    if HOUR not in text:
        return shlex.quote(text)
    if set(text) & _SPECIAL:
        return "'" + text.replace("'", "'\"'\"'").replace(HOUR, "'$HOUR'") + "'"
    return '"' + text.replace(HOUR, "${HOUR}") + '"'
