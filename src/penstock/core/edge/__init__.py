"""The edge: HTTP in, pure functions in the middle, HTTP out.

An ingest handler is a plain function from `Received` to `Reply`; it does no I/O, so it may run on
any thread. The edge appends the reply's events and sends its response once they are durable.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

import msgspec

from penstock.core.events import Event

_JSON = (b"content-type", b"application/json")
_encode_json = msgspec.json.Encoder().encode


class Received(msgspec.Struct, frozen=True, gc=False):
    """A request, complete and within its limits."""

    method: str
    parameters: tuple[str, ...]
    """Percent-decoded segments of the path that the route's template names, in order."""
    query: bytes
    """The raw query string, without the question mark."""
    headers: Mapping[bytes, bytes]
    """By lower-case name; several lines of a list are one, joined by commas."""
    body: bytes
    """Without its coding; empty where the operation does not read it."""
    client: str
    """Address of the client, or of the proxy where none is trusted."""
    at_ms: int
    """Server time of arrival in epoch milliseconds: the latest that it can be, where the clock has
    stepped."""


class Response(msgspec.Struct, frozen=True, gc=False):
    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @classmethod
    def json(cls, value: object, status: int = 200) -> "Response":
        return cls(status, _encode_json(value), (_JSON,))

    @classmethod
    def json_bytes(cls, body: bytes) -> "Response":
        return cls(200, body, (_JSON,))


NO_CONTENT = Response(204)


class Refused(msgspec.Struct, frozen=True, gc=False):
    """An error, as an operation is told of it that spells its refusals in its own way."""

    status: int
    code: str
    message: str
    retry_after: int
    """Seconds after which trying again makes sense; 0 where it does not."""
    request_id: str


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What an ingest handler decides: events to make durable, and what to say then."""

    events: Sequence[Event]
    response: Response = NO_CONTENT
    idempotency_key: str = ""
    rejected: int = 0
    """Events of the same request that were refused and are named in the response."""
    repeated: Response | None = None
    """What a repeat under the idempotency key is told, if that is not the response itself."""


FailurePolicy = Literal["fail_open", "fail_closed"]
"""While the log takes nothing: lose the events and count them, or refuse with 503."""

Refusing = Callable[[Refused], Response]
"""Pure; of every refusal of an operation, those by core's own limits among them."""
Ingesting = Callable[[Received], Reply]
Answering = Callable[[Received], Awaitable[Response]]
