"""Pages of other origins that may ask an operation, and what their browsers are told (CORS).

A browser asks before it lets a page send JSON elsewhere, and lets the page read an answer only if
that names the page's origin. A beacon, which is sent while its page goes away, cannot wait for such
questions: it calls its JSON `text/plain`, and is taken at its body. Cookies come along only
where an operation says so, and then each origin has a name.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from penstock.core.edge import Received, Response
from penstock.core.errors import Misconfigured

Allowed = Literal["none", "any", "setting"] | tuple[str, ...] | Callable[[Any], str]
"""Origins whose pages may ask: those of core's setting, a list, or what a function makes of the
application's settings, in the form of core's."""

EVERYONE = "*"
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?")
_BEACON = b"text/plain"
_JSON = b"application/json"
_TAKES = b"content-type, content-encoding, idempotency-key, x-request-id"
_SHOWS = b"x-request-id, retry-after, idempotent-replayed, ratelimit, ratelimit-policy"
_VARIES = (b"vary", b"origin")
_REMEMBERED_SECONDS = 86_400
"""How long a browser need not ask again; most do after two hours all the same."""


class Origins:
    def __init__(
        self, setting: str, *, credentials: bool = False, takes: Iterable[str] = ()
    ) -> None:
        """`setting` is a list with commas, or `*`. `credentials`: cookies of the page's visitor may
        come along. `takes`: more headers that a request may have. Raise `Misconfigured`.
        """
        words = {word.strip() for word in setting.split(",") if word.strip()}
        self._everyone = EVERYONE in words
        self._credentials = credentials
        more = sorted({name.lower().encode() for name in takes} - {*_TAKES.split(b", ")})
        self._takes = b", ".join([_TAKES, *more])
        if self._everyone and credentials:
            raise Misconfigured(
                "cookies would come along from pages of every origin; name those that may ask"
            )
        if wrong := sorted(w for w in words - {EVERYONE} if not _ORIGIN.fullmatch(w)):
            raise Misconfigured(
                f"PENSTOCK_ORIGINS: {wrong[0]!r} is no origin; write scheme, host and port as "
                "browsers do, in small letters and without a path: https://shop.example, or *"
            )
        self._known = frozenset(word.encode() for word in words)

    def __bool__(self) -> bool:
        return bool(self._known)

    def lines(self, headers: Mapping[bytes, bytes]) -> bytes:
        """What an answer has for the page that asks; nothing where none does."""
        origin = headers.get(b"origin")
        if origin is None:
            return b""
        return b"".join(b"%b: %b\r\n" % line for line in self._told(origin))

    def take_beacon(self, headers: dict[bytes, bytes]) -> None:
        """Call JSON what a page calls text. Who sends no origin is no page, and may too."""
        origin = headers.get(b"origin")
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind == _BEACON and (origin is None or self.allows(origin)):
            headers[b"content-type"] = _JSON

    def permits(
        self, headers: Mapping[bytes, bytes], methods: Sequence[str]
    ) -> tuple[tuple[bytes, bytes], ...]:
        """What a page that asks beforehand is told: it may use these methods."""
        origin = headers.get(b"origin", b"")
        if not self.allows(origin):
            return (_VARIES,)
        return (
            (b"access-control-allow-methods", ", ".join(methods).encode()),
            (b"access-control-allow-headers", self._takes),
            (b"access-control-max-age", b"%d" % _REMEMBERED_SECONDS),
            *self._told(origin),
        )

    def allows(self, origin: bytes) -> bool:
        return bool(origin) and (self._everyone or origin in self._known)

    def _told(self, origin: bytes) -> tuple[tuple[bytes, bytes], ...]:
        if not self.allows(origin):
            return (_VARIES,)
        named = EVERYONE.encode() if self._everyone else origin
        shown = (b"access-control-expose-headers", _SHOWS)
        cookies = ((b"access-control-allow-credentials", b"true"),) if self._credentials else ()
        return ((b"access-control-allow-origin", named), *cookies, shown, _VARIES)


class Preflights:
    """What is answered to browsers that ask beforehand, from memory: of every path by method."""

    def __init__(self, allowed: Callable[[bytes, str], Iterable[str]]) -> None:
        """`allowed`: the methods of a path on a host, whoever may use them."""
        self._allowed = allowed
        self._pages: dict[tuple[str, str], dict[str, Origins]] = {}

    def add(self, method: str, path: str, hosts: str, origins: Origins) -> bool:
        """Whether it is the first of its place."""
        methods = self._pages.setdefault((path, hosts), {})
        methods[method] = origins
        return len(methods) == 1

    def answer(self, path: str, hosts: str, received: Received) -> Response:
        methods, headers = self._pages[path, hosts], received.headers
        known = self._allowed(received.path.encode("latin-1"), received.host)
        allow = (b"allow", ", ".join(sorted({*known, "OPTIONS"})).encode())
        wanted = headers.get(b"access-control-request-method", b"").decode("latin-1")
        origins = methods.get(wanted)
        if origins is None:
            return Response(204, headers=(allow, _VARIES))
        open_to = [method for method, one in methods.items() if one is origins]
        return Response(204, headers=(allow, *origins.permits(headers, open_to)))
