"""The OpenAPI 3.1 document: what every operation takes and answers, made of what is declared.

It holds more than the standard asks for where a reader would miss it: `x-errors` says what each
code means, `x-lines` what a line of a body is, `x-body-bytes-max` how much may be sent, `x-hosts`
on which class of hosts it is answered, and `x-codeSamples` how to try it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from penstock import __version__
from penstock.core import errors
from penstock.core.edge import Refused
from penstock.core.edge.access import Keys
from penstock.core.editing import offers
from penstock.core.interface import JSON, Answer, Body, Offer, Parameter, Refusal
from penstock.core.manifest import Ingest, Manifest, Route
from penstock.core.openapi.trying import Way, curl, ways

Document = dict[str, Any]
Schema = dict[str, Any]

SERVER = "server"
"""Heads what the server itself is asked."""
SCHEMAS = "#/components/schemas/"
_KEY = "key"
_KEYED = {
    _KEY: {
        "type": "http",
        "scheme": "bearer",
        "description": "A key that the server's settings know the digest of; `X-Api-Key` may have "
        "it instead.",
    }
}
_BEACON = "text/plain"
_IDEMPOTENCY_KEY = "Idempotency-Key"
_PASSING = {kind.default_code for kind in (errors.Overloaded, errors.NotReady, errors.RateLimited)}
_RATES = {
    name: {"description": meaning, "schema": {"type": "string"}}
    for name, meaning in {
        "RateLimit-Policy": "Every limit of the operation: how many in how many seconds.",
        "RateLimit": "Which of them is used up, and after how many seconds it is not.",
    }.items()
}
"""As draft-ietf-httpapi-ratelimit-headers spells them."""
_ABOUT = """\
A path parameter is percent-decoded and never empty. A body may be coded once, with \
`Content-Encoding: gzip`, `deflate`, `br` or `zstd`; its largest size is meant as it is sent and \
as it is once inflated. Times are told in UTC.

An `X-Request-Id` that a trusted proxy gives a request goes back with its answer; an answer that \
is an error always has one. What answers `GET` answers `HEAD` too.

After any error nothing of the request was stored. A 4xx says that the request has to change; only \
408, 429 and 5xx are worth sending again, and a 429, and a 503 to an event, says in `Retry-After` \
when.

An operation that lists `Idempotency-Key` takes one of 1 to 64 visible ASCII characters, which \
stands for this request from when its events are stored, for as long as the setting \
`idempotency_hours` says. The same operation, path, query and body under it is a repeat: it \
stores nothing, and gets the status and body that were answered first, with `Idempotent-Replayed: \
true`; where a body counts events, that of a repeat has `"duplicate": N` besides, those that were \
stored before. Anything else under it is answered 422 `key_reused`, and nothing of it is stored. \
Bodies are compared byte for byte, without their `Content-Encoding`; headers are not. A request \
that was refused claims no key. Operations that store into the same topic share their keys. With \
a log on Kafka a key is known to the edge that took it, on its own disk: another edge takes \
whatever comes under it for new, so a balancer has to send each key to the same one."""


class Section(NamedTuple):
    name: str
    summary: str
    offers: Sequence[Offer]
    errors: Mapping[str, tuple[int, str]]
    """Statuses of its own codes, and what they mean."""


def _own(manifest: Manifest) -> dict[str, tuple[int, str]]:
    return {code: manifest.error(code) for code in manifest.errors}


def document(manifests: Sequence[Manifest], own: Sequence[Offer]) -> Document:
    """Of what the applications offer, and what the server itself does."""
    sections = [
        Section(m.name, m.summary, [*m.ingest, *m.routes, *offers.routes(m)], _own(m))
        for m in manifests
    ] + [Section(SERVER, "What a person, a monitor and a scraper ask of a process.", own, {})]
    shapes = _Shapes(offer for section in sections for offer in section.offers)
    paths: dict[str, Any] = {}
    for section in sections:
        for offer in section.offers:
            for way in ways(offer):
                told = paths.setdefault(way.path, {})
                if way.method.lower() in told:  # on hosts of another class
                    told = paths.setdefault(f"{way.path}#{offer.hosts}", {})
                told[way.method.lower()] = _operation(offer, way, section, shapes)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Penstock",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [],
        "tags": [{"name": s.name, "description": s.summary} for s in sections],
        "paths": paths,
        "components": {"schemas": shapes.components, "securitySchemes": _KEYED},
    }


class _Shapes:
    """Types as schemas; those with a name are components and referred to."""

    def __init__(self, offers: Iterable[Offer]) -> None:
        named = [Refusal, *(shape for offer in offers for shape in _shapes(offer))]
        found, components = msgspec.json.schema_components(named, ref_template=SCHEMAS + "{name}")
        self.components: dict[str, Schema] = components
        self._found = list(zip(named, found, strict=True))

    def of(self, shape: Any) -> Schema:
        return dict(next(schema for known, schema in self._found if known is shape))


def _shapes(offer: Offer) -> Iterator[Any]:
    interface = offer.interface
    yield from (parameter.shape for parameter in interface.parameters)
    if interface.takes is not None:
        yield interface.takes.shape
    yield from (answer.shape for answer in interface.answers if answer.shape is not None)


def _operation(offer: Offer, way: Way, section: Section, shapes: _Shapes) -> dict[str, Any]:
    interface = offer.interface
    here = [one for one in interface.parameters if way.has(one)]
    operation: dict[str, Any] = {
        "tags": [section.name],
        "operationId": way.name,
        "summary": offer.summary,
        "parameters": [_parameter(one, shapes) for one in here],
        "responses": {
            **_responses(offer, section, shapes),
            "default": _refusal("Any other error; it has this shape too.", media=_other(offer)),
        },
        "x-body-bytes-max": offer.body_bytes_max,
        "x-codeSamples": [{"lang": "Shell", "label": "curl", "source": curl(offer, way=way)}],
    }
    if isinstance(offer, Ingest | Route) and isinstance(offer.access, Keys):
        operation["security"] = [{_KEY: []}]
    if offer.hosts:
        operation["x-hosts"] = offer.hosts
    if interface.takes is not None:
        operation["requestBody"] = _body(interface.takes, shapes, for_pages=_for_pages(offer))
    return operation


def _for_pages(offer: Offer) -> bool:
    return isinstance(offer, Ingest | Route) and offer.origins != "none"


def _parameter(parameter: Parameter, shapes: _Shapes) -> dict[str, Any]:
    schema = shapes.of(parameter.shape)
    told = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.meaning,
        "required": parameter.required,
        "schema": schema,
    }
    if parameter.example:
        several = schema.get("type") == "array"
        told["example"] = list(parameter.example) if several else parameter.example[0]
    return told


def _body(body: Body, shapes: _Shapes, *, for_pages: bool) -> dict[str, Any]:
    content: dict[str, Any]
    if body.lines:
        content = {"schema": {"type": "string", "x-lines": shapes.of(body.shape)}}
        if body.example:
            content["example"] = body.example.decode()
    else:
        content = {"schema": shapes.of(body.shape)}
        if body.example:
            content["example"] = msgspec.json.decode(body.example)
    media = [*body.media, *([_BEACON] if for_pages else [])]
    note = f" `{_BEACON}` where the setting `origins` lets pages send events." if for_pages else ""
    return {
        "description": body.meaning + note,
        "required": body.required,
        "content": dict.fromkeys(media, content),
    }


def _responses(offer: Offer, section: Section, shapes: _Shapes) -> dict[str, Any]:
    """By status. An answer may have that of an error, whose codes it tells of then."""
    codes, media = _codes(offer, section)
    told = {
        str(one.status): _answer(one, shapes, codes.pop(one.status, {}))
        for one in offer.interface.answers
    }
    for status, meanings in sorted(codes.items()):
        told[str(status)] = _refusal(_listed(meanings), meanings, media.get(status, ""))
    return told


def _answer(answer: Answer, shapes: _Shapes, codes: Mapping[str, str]) -> dict[str, Any]:
    meaning = f"{answer.meaning} Or it is an error: {_listed(codes)}" if codes else answer.meaning
    told: dict[str, Any] = {"description": meaning}
    if answer.shape is not None:
        content: dict[str, Any] = {"schema": shapes.of(answer.shape)}
        if answer.example:
            content["example"] = msgspec.json.decode(answer.example)
        told["content"] = {answer.media: content}
    return told


def _codes(offer: Offer, section: Section) -> tuple[dict[int, dict[str, str]], dict[int, str]]:
    """By status: meanings of the codes, and the media type where it is spelled in its own way."""
    core = {kind.default_code: kind for kind in reversed(errors.catalogue())}
    codes: dict[int, dict[str, str]] = {}
    media: dict[int, str] = {}
    for code in dict.fromkeys((*offer.interface.errors, *_common(offer))):
        own = section.errors.get(code)
        status, meaning = own or (core[code].status, errors.meaning(core[code]))
        status, spelled = _spelled(offer, status, code, meaning)
        media[status] = spelled
        codes.setdefault(status, {})[code] = meaning
    return codes, media


def _other(offer: Offer) -> str:
    """Media type of any error."""
    return _spelled(offer, 500, errors.PenstockError.default_code, "")[1]


def _listed(meanings: Mapping[str, str]) -> str:
    return "\n".join(f"`{code}`: {meaning}" for code, meaning in meanings.items())


def _spelled(offer: Offer, status: int, code: str, meaning: str) -> tuple[int, str]:
    """Status and media type that an error is answered with; no type where it is as everybody's."""
    if not isinstance(offer, Ingest | Route) or offer.refusal is None:
        return status, ""
    answer = offer.refusal(Refused(status, code, meaning, 0, ""))
    media = dict(answer.headers).get(b"content-type", b"application/octet-stream")
    return answer.status, media.decode().partition(";")[0]


def _common(offer: Offer) -> Iterator[str]:
    """Codes that the edge answers to every operation of the kind."""
    yield errors.TooLarge.default_code
    if offer.interface.takes is not None:
        for kind in (errors.BadEncoding, errors.TimedOut, errors.UnsupportedType):
            yield kind.default_code
    if any(parameter.name == _IDEMPOTENCY_KEY for parameter in offer.interface.parameters):
        yield errors.KeyReused.default_code
    if isinstance(offer, Ingest | Route):
        if isinstance(offer.access, Keys):
            yield errors.Unauthorized.default_code
        if offer.access == "nobody":
            yield errors.Forbidden.default_code
        if offer.limits:
            yield errors.RateLimited.default_code
        yield errors.Overloaded.default_code
        yield errors.NotReady.default_code
    if isinstance(offer, Route):  # it answers from views
        yield errors.Damaged.default_code
        yield errors.Disproved.default_code


def _refusal(
    description: str, meanings: Mapping[str, str] | None = None, media: str = ""
) -> dict[str, Any]:
    """`media`: of an operation's own spelling, of which no more is known."""
    schema: Schema = {"$ref": SCHEMAS + Refusal.__name__}
    if meanings is not None:
        schema["properties"] = {"error": {"enum": list(meanings)}}
    content = {media: {}} if media else {JSON: {"schema": schema}}
    told: dict[str, Any] = {"description": description, "content": content}
    told["headers"] = {
        "X-Request-Id": {
            "description": "One that it was given, here or by a proxy; our lines have it too.",
            "schema": {"type": "string"},
        }
    }
    if meanings is not None:
        told["x-errors"] = dict(meanings)
        if meanings.keys() & _PASSING:
            told["headers"]["Retry-After"] = {
                "description": "Seconds after which trying again makes sense.",
                "schema": {"type": "integer", "minimum": 1},
            }
        if errors.RateLimited.default_code in meanings:
            told["headers"] |= _RATES
    return told
