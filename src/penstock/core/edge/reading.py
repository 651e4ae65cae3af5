"""What every operation that takes a body looks at, whatever it is about. Pure."""

import re
from collections.abc import Iterable

from penstock.core.edge import Received
from penstock.core.errors import UnsupportedType
from penstock.core.interface import JSON

_FAULT = re.compile(
    r"(?:missing required field `(\w+)`|unknown field `([^`]*)`)?(?: - at `\$\.?([\w.]*)`)?$",
    re.ASCII,
)
"""Where a decoder says that it is not content."""


def types(media: Iterable[str]) -> frozenset[bytes]:
    """Those media types for `check_type`; a request that names none is taken at its body."""
    return frozenset({b"", *(one.encode() for one in media)})


_JSON_TYPES = types((JSON,))


def check_type(received: Received, accepted: frozenset[bytes] = _JSON_TYPES) -> None:
    """Raise `UnsupportedType`.

    A page may send forms and text to other origins without asking, and nothing else: what is not
    taken is what its browser would not have asked about.
    """
    given = received.headers.get(b"content-type", b"")
    if given not in accepted and given.partition(b";")[0].strip().lower() not in accepted:
        raise UnsupportedType("send Content-Type: application/json")


def fault(message: str) -> str:
    """The member that a decoder's message is about; empty where it is about the whole."""
    found = _FAULT.search(message)
    missing, unknown, place = found.groups() if found else (None, None, None)
    return ".".join(name for name in (place, missing or unknown) if name)
