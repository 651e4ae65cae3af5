"""Pages of other origins that may send events, and what their browsers are told (CORS).

A browser asks before it lets a page send JSON elsewhere, and lets the page read an answer only if
that names the page's origin. A beacon, which is sent while its page goes away, cannot wait for such
questions: it calls its JSON `text/plain`, and is taken at its body. Nothing is answered with
credentials, since ingest knows none.
"""

import re
from collections.abc import Mapping, Sequence

from penstock.core.edge import Response
from penstock.core.errors import Misconfigured

EVERYONE = "*"
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?")
_BEACON = b"text/plain"
_JSON = b"application/json"
_TAKES = b"content-type, content-encoding, idempotency-key, x-request-id"
_SHOWS = b"x-request-id, retry-after, idempotent-replayed"
_VARIES = (b"vary", b"origin")
_REMEMBERED_SECONDS = 86_400
"""How long a browser need not ask again; most do after two hours all the same."""


class Origins:
    def __init__(self, setting: str) -> None:
        """`setting` is a list with commas, or `*`. Raise `Misconfigured`."""
        words = {word.strip() for word in setting.split(",") if word.strip()}
        self._everyone = EVERYONE in words
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
        if kind == _BEACON and (origin is None or self._allows(origin)):
            headers[b"content-type"] = _JSON

    def preflight(self, headers: Mapping[bytes, bytes], methods: Sequence[str]) -> Response:
        """What a page may send to a path that takes these methods."""
        origin = headers.get(b"origin", b"")
        answer = [(b"allow", ", ".join(sorted([*methods, "OPTIONS"])).encode())]
        if self._allows(origin):
            answer += [
                (b"access-control-allow-methods", ", ".join(methods).encode()),
                (b"access-control-allow-headers", _TAKES),
                (b"access-control-max-age", b"%d" % _REMEMBERED_SECONDS),
            ]
        return Response(204, headers=(*answer, *self._told(origin)))

    def _allows(self, origin: bytes) -> bool:
        return bool(origin) and (self._everyone or origin in self._known)

    def _told(self, origin: bytes) -> tuple[tuple[bytes, bytes], ...]:
        if not self._allows(origin):
            return (_VARIES,)
        named = EVERYONE.encode() if self._everyone else origin
        shown = (b"access-control-expose-headers", _SHOWS)
        return ((b"access-control-allow-origin", named), shown, _VARIES)
