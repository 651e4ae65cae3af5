"""An operation's example, as it is sent: in the hour in which that is done."""

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from penstock.core.interface import HOUR, Offer

LOCAL = "http://127.0.0.1:8080"
"""Where a server is as long as nobody says otherwise."""
_SPECIAL = frozenset('"$`\\!')
"""What says something between double quotes."""
_SETS_HOUR = "HOUR=$(date -u +%Y-%m-%dT%H)\n"


def hour(at_ms: int) -> str:
    """As `HOUR` is spelled; of milliseconds since 1970."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H")


def target(offer: Offer) -> str:
    """Path and query of its example."""
    given = offer.interface.parameters
    path = offer.path
    for parameter in given:
        if parameter.place == "path":
            path = path.replace(f"{{{parameter.name}}}", quote("".join(parameter.example), safe=""))
    query = [(p.name, value) for p in given if p.place == "query" for value in p.example]
    return f"{path}?{urlencode(query, safe=':,')}" if query else path


def headers(offer: Offer) -> Iterator[tuple[str, str]]:
    """Those that its example needs."""
    takes = offer.interface.takes
    if takes is not None and takes.example:
        yield "Content-Type", takes.media[0]
    for parameter in offer.interface.parameters:
        if parameter.place == "header":
            yield from ((parameter.name, value) for value in parameter.example)


def curl(offer: Offer, url: str = LOCAL) -> str:
    """Its example as a command."""
    takes = offer.interface.takes
    words = ["curl"] if offer.method == "GET" else ["curl", "-X", offer.method]
    parts = [[*words, url + target(offer)]]
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
