"""Heads of requests, and those that were parsed before: the same bytes mean the same again."""

from typing import NamedTuple

from penstock.core.edge.endpoints import Target
from penstock.core.edge.grammar import Parsed
from penstock.core.edge.wire import REQUEST_ID
from penstock.core.errors import PenstockError

_HEADS_MAX = 2_048
_HEAD_BYTES_MAX = 1_024


class Told(NamedTuple):
    """What a client says of itself, or a proxy that is believed says of it."""

    host: str
    secure: bool
    request_id: bytes


class Head:
    """All that is known of a request before its body."""

    __slots__ = (
        "coding", "endpoint", "expects", "for_page", "gate", "headers", "host", "keep_alive",
        "length", "method", "old", "parameters", "path", "plain", "query", "refusal", "request_id",
        "secure", "timings",
    )  # fmt: skip

    def __init__(
        self,
        parsed: Parsed,
        target: Target,
        parameters: tuple[str, ...],
        refusal: PenstockError | None,
        told: Told,
    ) -> None:
        self.endpoint, self.timings = target
        self.gate = self.endpoint.gate
        self.method = parsed.method
        self.parameters = parameters
        self.path = parsed.path.decode("latin-1")
        self.query = parsed.query
        self.headers = parsed.fields
        self.host, self.secure, self.request_id = told
        self.length = parsed.length
        self.keep_alive = parsed.keep_alive
        self.old = parsed.old
        self.expects = parsed.expects
        self.coding = b""
        """Of the body, where somebody reads it."""
        self.plain = parsed.keep_alive and not (parsed.old or self.request_id)
        """Whether an answer needs no line for this request in particular."""
        self.refusal = refusal
        """Why it leads nowhere, if it does not."""
        self.for_page = b""
        """Lines of its answer for a page of another origin."""

    def tell_page(self, lines: bytes) -> None:
        self.for_page = lines
        self.plain = self.plain and not lines

    @property
    def may_come_again(self) -> bool:
        """Not of those that are as good as unique."""
        return not (
            self.refusal
            or self.query
            or REQUEST_ID in self.headers
            or b"idempotency-key" in self.headers
        )


class Heads:
    """A bounded memory of heads that were found sound, shared by all connections of an edge whose
    word is worth the same.
    """

    def __init__(self, *, remembers: bool, trusted: bool = False) -> None:
        self.trusted = trusted
        """Whether they come from proxies that are believed."""
        self._known: dict[bytes, Head] = {}
        self._remembers = remembers
        self.find = self._known.get

    def learn(self, spelling: bytes, head: Head) -> None:
        """`spelling` is the whole of it, with the empty line."""
        if not self._remembers or len(spelling) > _HEAD_BYTES_MAX or not head.may_come_again:
            return
        if len(self._known) >= _HEADS_MAX:
            self._known.clear()
        self._known[spelling] = head
