"""Heads of requests that were parsed before: the same bytes mean the same again."""

from penstock.core.edge import NO_CONTENT
from penstock.core.edge.endpoints import Target
from penstock.core.edge.wire import Fields, announced, by_name, render, request_id_of

END = b"\r\n\r\n"
_HEADS_MAX = 2_048
_HEAD_BYTES_MAX = 1_024
_UNFRAMED = -1


class Head:
    """All that is known of a request before its body."""

    __slots__ = (
        "coding", "endpoint", "headers", "length", "method", "parameters", "path", "query",
        "request_id", "timings",
    )  # fmt: skip

    def __init__(
        self, target: Target, method: str, parameters: tuple[str, ...], url: bytes, fields: Fields
    ) -> None:
        self.endpoint, self.timings = target
        self.method = method
        self.parameters = parameters
        path, _, self.query = url.partition(b"?")
        self.path = path.decode("latin-1")
        self.headers = by_name(fields)
        self.coding = b""
        self.request_id = request_id_of(self.headers)
        chunked = b"transfer-encoding" in self.headers
        self.length = _UNFRAMED if chunked else announced(self.headers)
        """Bytes of the body that follows, if the head says how many."""


class Heads:
    """A bounded memory of heads, shared by all connections of an edge."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}
        self.find = self._known.get
        self._no_content: tuple[object, bytes] = (None, b"")

    def learn(self, request: bytes, head: Head) -> None:
        """`request` is exactly one request, whose head was found sound.

        Where the head ends is not taken on trust: what follows the first empty line must be as
        long as the announced body, so no other line can have ended it.
        """
        end = request.find(END) + len(END)
        unique = head.query or head.request_id or b"idempotency-key" in head.headers
        if unique or end > _HEAD_BYTES_MAX or len(request) - end != head.length:
            return
        if len(self._known) >= _HEADS_MAX:
            self._known.clear()
        self._known[request[:end]] = head

    def no_content(self, defaults: Fields) -> bytes:
        """The commonest answer, rendered once per change of the date."""
        if self._no_content[0] is not defaults:
            self._no_content = (defaults, render(NO_CONTENT, defaults, keep_alive=True))
        return self._no_content[1]
