"""What a browser is shown: the overview at the printed address, and the HTTP interface.

Nothing is loaded from elsewhere, and nothing runs that does not come from this very server. What
does not change is made once, or once an hour, and sent again only to those who lack it.
"""

import hashlib
from importlib.resources import files
from typing import Any, NamedTuple

import msgspec

from penstock import __version__
from penstock.core.clock import Clock
from penstock.core.edge import Received, Response
from penstock.core.edge.endpoints import AnswerEndpoint
from penstock.core.health import OFFERS as HEALTH
from penstock.core.health import Health
from penstock.core.interface import HOUR, JSON, Answer, Asked, Interface
from penstock.core.openapi import document
from penstock.core.openapi.trying import hour
from penstock.core.pages import overview, reading
from penstock.core.pages.overview import Overview
from penstock.core.platform import ROLES, Platform
from penstock.core.stages import Pipeline

HTML = "text/html; charset=utf-8"
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFE = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_ASSETS = (
    ("/pages/style.css", "style.css", "text/css; charset=utf-8"),
    ("/pages/page.js", "page.js", "text/javascript; charset=utf-8"),
)

_LOOK_FRESH_SECONDS = 0.5
_PATIENCE_SECONDS = 1.0
"""However many ask, and whatever hangs, one look at a time is taken and nobody waits for longer."""
_NOTHING_KNOWN: Pipeline = {
    "log": {"last_error": "", "spooled": 0},
    "topics": [],
    "projections": [],
    "mirrors": [],
}

OFFERS = (
    Asked(
        operation="overview",
        paths=("/",),
        hosts="console",
        summary="What runs and how far it is: a page for browsers, JSON for everybody else.",
        interface=Interface(
            answers=(Answer(meaning="A page where `Accept` names HTML.", shape=Overview),)
        ),
    ),
    Asked(
        operation="docs",
        paths=("/docs",),
        hosts="console",
        summary="This interface, as a page.",
        interface=Interface(answers=(Answer(meaning="The page.", shape=str, media=HTML),)),
    ),
    Asked(
        operation="openapi",
        paths=("/openapi.json",),
        hosts="console",
        summary="This interface, as an OpenAPI 3.1 document.",
        interface=Interface(answers=(Answer(meaning="The document.", shape=dict[str, Any]),)),
    ),
    *HEALTH,
)
"""All that the server itself is asked."""


class _File(NamedTuple):
    body: bytes
    media: str
    tag: bytes

    @classmethod
    def of(cls, body: bytes, media: str) -> "_File":
        return cls(body, media, f'"{hashlib.sha256(body).hexdigest()[:16]}"'.encode())

    async def answer(self, received: Received) -> Response:
        known = received.headers.get(b"if-none-match", b"")
        kept = ((b"etag", self.tag), (b"cache-control", b"no-cache"))
        if self.tag in known:
            return Response(304, headers=kept)
        media = (b"content-type", self.media.encode())
        return Response(200, self.body, (media, *kept, *_SAFE))


class _Tried:
    """A file with examples, anew every hour."""

    def __init__(self, text: str, media: str, clock: Clock) -> None:
        self._text = text
        self._media = media
        self._clock = clock
        self._made: tuple[str, _File] | None = None

    async def answer(self, received: Received) -> Response:
        now = hour(self._clock.now_ms())
        if self._made is None or self._made[0] != now:
            self._made = now, _File.of(self._text.replace(HOUR, now).encode(), self._media)
        return await self._made[1].answer(received)


class Pages:
    def __init__(self, platform: Platform, health: Health) -> None:
        self._platform = platform
        self._health = health
        self._started_at_ms = platform.clock.now_ms()

    def offer(self) -> None:
        clock, made = self._platform.clock, document(self._platform.manifests, OFFERS)
        files_at: dict[str, _File | _Tried] = {
            "/docs": _Tried(reading.page(made), HTML, clock),
            "/openapi.json": _Tried(msgspec.json.encode(made).decode(), JSON, clock),
        }
        for path, name, media in _ASSETS:
            files_at[path] = _File.of((files(__package__) / name).read_bytes(), media)
        answers = {"/": self.overview, **{path: file.answer for path, file in files_at.items()}}
        named = {offer.paths[0]: offer.operation for offer in OFFERS}
        for path, answer in answers.items():
            endpoint = AnswerEndpoint(
                operation=named.get(path, "assets"),
                body_bytes_max=1_024,
                answer=answer,
                sheds=False,
            )
            self._platform.edge.add("GET", path, endpoint, "console")

    async def overview(self, received: Received) -> Response:
        found = await self._look()
        varies = (b"vary", b"accept")
        if b"text/html" not in received.headers.get(b"accept", b""):
            told = Response.json(found)
            return Response(200, told.body, (*told.headers, varies))
        platform = self._platform
        page = overview.page(found, platform.manifests, platform.clock.now_ms())
        media = (b"content-type", HTML.encode())
        fresh = (b"cache-control", b"no-store")
        return Response(200, page.encode(), (media, fresh, varies, *_SAFE))

    async def _look(self) -> Overview:
        platform, settings = self._platform, self._platform.settings
        seen = await self._health.staged.ask(
            fresh_seconds=_LOOK_FRESH_SECONDS, patience_seconds=_PATIENCE_SECONDS
        )
        stages = _NOTHING_KNOWN if seen is None else seen.value
        age = None if seen is None else self._health.staged.age(seen)
        engines = {"log": settings.log_url}
        if platform.stores is not None:
            engines["state"] = settings.state_url
            if platform.stores.warehouse is not None:
                engines["warehouse"] = settings.warehouse_url
        return Overview(
            __version__,
            [role for role in ROLES if role in platform.roles],
            self._started_at_ms,
            overview.engines(engines),
            {manifest.name: manifest.summary for manifest in platform.manifests},
            overview.with_age(await self._health.problems(), age),
            overview.account(stages),
            overview.views(stages),
        )
