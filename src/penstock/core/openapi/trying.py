"""An operation's example, as it is sent."""

import shlex
from collections.abc import Iterator
from urllib.parse import quote, urlencode

from penstock.core.interface import Offer

LOCAL = "http://127.0.0.1:8080"
"""Where a server is as long as nobody says otherwise."""


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
    parts = [shlex.join([*words, url + target(offer)])]
    parts += [shlex.join(["-H", f"{name}: {value}"]) for name, value in headers(offer)]
    if takes is not None and takes.example:
        option = "--data-binary" if takes.lines else "-d"
        parts.append(shlex.join([option, takes.example.decode()]))
    return " \\\n  ".join(parts)
