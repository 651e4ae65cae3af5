"""The edge: HTTP in, pure functions in the middle, HTTP out.

An ingest handler is a plain function from `Received` to `Reply`; it does no I/O, so it may run on
any thread. The edge appends the reply's events and sends its response once they are durable.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Literal, Protocol, TypeVar
from uuid import uuid4

import msgspec

from penstock.core.events import Event
from penstock.core.projects import DEFAULT_PROJECT

_JSON = (b"content-type", b"application/json")
_encode_json = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode
_VERSION, _VARIANT = 0xF << 76, 3 << 62
"""Where a UUID has them (RFC 9562)."""
_BELOW_TIME = (1 << 80) - 1


class Principal(msgspec.Struct, frozen=True, gc=False):
    """Who asks, as far as that is known."""

    id: str = ""
    """The same for the same caller of a project; empty for anybody."""


ANYBODY = Principal()


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
    path: str = "/"
    """As it came, not decoded."""
    host: str = ""
    """The name that was asked for, in lower case and without a port."""
    secure: bool = False
    """Whether it came by TLS: to this process, or to the trusted proxy that says so."""
    project: str = DEFAULT_PROJECT
    who: Principal = ANYBODY
    _id: bytes = b""
    request_id: str = ""
    """What a trusted proxy calls it; only of what is answered from the stores."""

    @property
    def id(self) -> bytes:
        """A UUID of 16 bytes that no other request has, so that what is made of it has a name.

        One that is sent again under its Idempotency-Key, by the same caller to the same path, has
        the same again (version 8); all others are new, and sort by time (version 7). It is made
        when somebody asks for it, and costs nothing before.
        """
        if not self._id:
            msgspec.structs.force_setattr(self, "_id", self._made())
        return self._id

    def _made(self) -> bytes:
        key = self.headers.get(b"idempotency-key")
        if key is None:
            return _uuid(self.at_ms << 80 | uuid4().int & _BELOW_TIME, 7)
        asked = _pack((self.project, self.who.id, self.method, self.path, self.query, key))
        return _uuid(int.from_bytes(blake2b(asked, digest_size=16).digest()), 8)


def _uuid(number: int, version: int) -> bytes:
    return (number & ~(_VERSION | _VARIANT) | version << 76 | 2 << 62).to_bytes(16)


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
    field: str = ""
    """What of what was sent is wrong; empty where that is all of it."""


Asking = Callable[[bytes], Awaitable[Response]]
"""An event that is durable, as the log has it → what is said of it; never raises."""


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What a handler decides: events to make durable, and what to say then."""

    events: Sequence[Event]
    response: Response = NO_CONTENT
    idempotency_key: str = ""
    rejected: int = 0
    """Events of the same request that were refused and are named in the response."""
    repeated: Response | None = None
    """What a repeat under the idempotency key is told, if that is not the response itself."""


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
S_co = TypeVar("S_co", covariant=True)
C_co = TypeVar("C_co", covariant=True)


class Keeping(Protocol[T_co]):
    """A fold, as far as it is asked what it knows of a key."""

    @property
    def space(self) -> str: ...

    @property
    def state(self) -> "type[T_co]": ...


class Known(Protocol[S_co, C_co]):
    """What an ingest handler may know besides the request, in this process: no I/O, no wait."""

    @property
    def settings(self) -> S_co:
        """The application's own settings struct."""
        ...

    @property
    def catalogue(self) -> C_co:
        """What its people have set; None of an application that has nothing to set."""
        ...

    def tally(self, key: bytes, seconds: float) -> int:
        """How often this was asked of the key, this time included, in the last so many seconds.

        By what is counted since the window began, and by the share of the one before that still
        lies in it. Of more keys than are kept, those that came once are forgotten first. Bodies
        that are judged by a process beside this one are counted there.
        """
        ...

    def get(self, fold: Keeping[T], key: bytes) -> T:
        """What a near fold knows of a key of the request's project, with all that was said here
        before; `fold.state()` where that is nothing. Of folds that `Ingest.near` names.

        Raise `NotReady`, which is answered 503, while that is not known: the fold has not caught up
        since the start, or is far behind.
        """
        ...


FailurePolicy = Literal["fail_open", "fail_closed"]
"""While the log takes nothing: lose the events and count them, or refuse with 503."""

Refusing = Callable[[Refused], Response]
"""Pure; of every refusal of an operation, those by core's own limits among them."""
Ingesting = Callable[[Received], Reply]
Answering = Callable[[Received], Awaitable[Response | Reply]]
"""With a reply its events are durable before its response leaves, as those of ingest are."""
