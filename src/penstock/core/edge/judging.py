"""Judging a body: what an ingest operation makes of it, here or in a process beside this one."""

import traceback
from collections.abc import Callable, Mapping, Sequence

import msgspec

from penstock.core import codings, errors
from penstock.core.edge import NO_CONTENT, Received, Reply, Response, repeats
from penstock.core.edge.endpoints import Endpoint, IngestEndpoint, Way
from penstock.core.errors import PenstockError, sound
from penstock.core.events import Event
from penstock.core.projects import DEFAULT_PROJECT, name_of, order_of
from penstock.core.worker import Handle


class Part(msgspec.Struct, frozen=True, gc=False):
    """What is to be appended to one topic."""

    topic: str
    payloads: Sequence[bytes]
    keys: Sequence[bytes] = ()


class Judged(msgspec.Struct, frozen=True, gc=False, tag=True):
    """What is to become durable of a request, and what is said then."""

    parts: Sequence[Part]
    """Topic by topic; all of them, or none."""
    response: Response
    rejected: int
    idempotency_key: str = ""
    fingerprint: bytes = b""
    """Of the request, and what its repeats are told: where it has an idempotency key."""
    repeated: Response = NO_CONTENT
    answer: bytes = b""
    """The same as the log keeps it."""

    def first(self, topic: str) -> bytes:
        """The first event of a topic as the log will have it; empty where there is none."""
        return next((part.payloads[0] for part in self.parts if part.topic == topic), b"")

    @property
    def events(self) -> int:
        return sum(len(part.payloads) for part in self.parts)


class _Refused(msgspec.Struct, frozen=True, tag=True):
    kind: str
    message: str
    code: str
    retry_after: int
    headers: tuple[tuple[bytes, bytes], ...]
    field: str


class _Failed(msgspec.Struct, frozen=True, tag=True):
    defect: str


class _Case(msgspec.Struct, frozen=True, gc=False):
    operation: str
    coding: bytes
    keyed: bool
    received: Received
    """Without its body, which goes beside it."""


class Defect(Exception):
    """An operation of ours has failed elsewhere; its traceback is the message."""


_encode = msgspec.msgpack.Encoder().encode
_decode_case = msgspec.msgpack.Decoder(_Case).decode
_decode_outcome = msgspec.msgpack.Decoder(Judged | _Refused | _Failed).decode
_KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, PenstockError)
}


def judge(endpoint: IngestEndpoint, received: Received, *, keyed: bool) -> Judged:
    """`keyed`: the log wants to know what belongs together. Raise a `PenstockError`."""
    return decided(endpoint, received, endpoint.ingest(received), keyed=keyed)


def decided(endpoint: Endpoint, received: Received, reply: Reply, *, keyed: bool) -> Judged:
    """The same of what was decided already. Raise `LookupError` for an event that the operation
    does not emit.
    """
    events = reply.events
    try:
        if len(events) == 1 and received.project == DEFAULT_PROJECT:  # `_parts` takes longer
            topic, encode, _, key = endpoint.ways[type(events[0])]
            keys = (order_of(DEFAULT_PROJECT, key(events[0])),) if keyed else ()
            parts: Sequence[Part] = (Part(topic, (encode(events[0]),), keys),)
        else:
            parts = _parts(endpoint.ways, events, received.project, keyed=keyed)
    except KeyError:
        _check_emitted(endpoint, events)
        raise
    if not reply.idempotency_key:
        return Judged(parts, reply.response, reply.rejected)
    repeated = reply.repeated or reply.response
    return Judged(
        parts,
        reply.response,
        reply.rejected,
        name_of(received.project, reply.idempotency_key),
        repeats.fingerprint(endpoint.operation, received),
        repeated,
        repeats.packed(repeated),
    )


def _check_emitted(endpoint: Endpoint, events: Sequence[Event]) -> None:
    """Raise `LookupError` for an event that has no way."""
    if (kind := next((type(e) for e in events if type(e) not in endpoint.ways), None)) is not None:
        raise LookupError(
            f"operation {endpoint.operation} says {kind.__name__}, which none of its topics has; "
            "add the topic to `emits`"
        ) from None


def _parts(
    ways: Mapping[type[Event], Way], events: Sequence[Event], project: str, *, keyed: bool
) -> list[Part]:
    """By topic, in their order. Raise `KeyError` for an event that the operation does not emit."""
    kinds = {*map(type, events)}
    if len(kinds) == 1:
        return [_part(ways[kinds.pop()], events, project, keyed=keyed)]
    found: dict[str, tuple[Way, list[Event]]] = {}
    for event in events:
        way = ways[type(event)]
        found.setdefault(way.topic, (way, []))[1].append(event)
    return [_part(way, of, project, keyed=keyed) for way, of in found.values()]


def _part(way: Way, events: Sequence[Event], project: str, *, keyed: bool) -> Part:
    encode = way.encode if project == DEFAULT_PROJECT else way.of(project)
    keys = [order_of(project, way.key(event)) for event in events] if keyed else ()
    return Part(way.topic, list(map(encode, events)), keys)


def ask(
    worker: Callable[[bytes, bytes], bytes],
    endpoint: IngestEndpoint,
    received: Received,
    body: bytes,
    *,
    coding: bytes,
    keyed: bool,
) -> Judged:
    """The same elsewhere, of a body as it came. Raise a `PenstockError` or `Defect`."""
    outcome: Judged | _Refused | _Failed = _decode_outcome(
        worker(_encode(_Case(endpoint.operation, coding, keyed, received)), body)
    )
    if isinstance(outcome, _Failed):
        raise Defect(outcome.defect)
    if isinstance(outcome, _Refused):
        raise _raised(outcome)
    return outcome


def answer(endpoints: Mapping[str, IngestEndpoint]) -> Handle:
    """What that process does with what it is asked, for the operations by name."""

    def handle(question: bytes, body: bytes) -> bytes:
        try:
            case = _decode_case(question)
            endpoint = endpoints[case.operation]
            if case.coding:
                body = codings.inflate(case.coding, body, endpoint.body_bytes_max)
            received = msgspec.structs.replace(case.received, body=body)
            return _encode(judge(endpoint, received, keyed=case.keyed))
        except PenstockError as error:
            return _encode(_refused(error))
        except BaseException:  # noqa: BLE001 - a defect is answered where the request came from
            return _encode(_Failed(sound(traceback.format_exc())))

    return handle


def _refused(error: PenstockError) -> _Refused:
    """An application's own kind is told as the one of the core's that it is."""
    kind = next(k.__name__ for k in type(error).__mro__ if _KINDS.get(k.__name__) is k)
    return _Refused(kind, error.message, error.code, error.retry_after, error.headers, error.field)


def _raised(refused: _Refused) -> PenstockError:
    kind = _KINDS[refused.kind]
    error = kind.__new__(kind)
    # Their own constructors take other things, and say what is said already.
    PenstockError.__init__(
        error, refused.message, code=refused.code, retry_after=refused.retry_after
    )
    error.headers, error.field = refused.headers, refused.field
    return error
