"""A small correct server to grade, by brute force over lists, and wrong ones made from it."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

JsonTag = dict[str, Any]

NAMES = ("origin", "brand_id", "category_id")


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC)


def product_of(tag: JsonTag, name: str) -> str:
    return str(tag["origin"] if name == "origin" else tag["product_info"][name])


def newest_first(tags: list[JsonTag]) -> list[JsonTag]:
    """Of equal times, the later accepted first."""
    order = sorted(range(len(tags)), key=lambda number: (instant(tags[number]["time"]), number))
    return [tags[number] for number in reversed(order)]


@dataclass
class Store:
    """Accepted tags in acceptance order; every answer scans them."""

    tags: list[JsonTag] = field(default_factory=list)
    by_cookie: dict[tuple[str, str], list[JsonTag]] = field(default_factory=dict)
    by_minute: dict[datetime, list[JsonTag]] = field(default_factory=dict)

    def accept(self, tag: JsonTag) -> None:
        self.tags.append(tag)
        self.by_minute.setdefault(self.bucket(tag), []).append(tag)
        self.by_cookie.setdefault((tag["cookie"], tag["action"]), []).append(tag)

    def bucket(self, tag: JsonTag) -> datetime:
        return instant(tag["time"]).replace(second=0, microsecond=0)

    def profile(self, cookie: str, start: datetime, end: datetime, limit: int) -> JsonTag:
        views, buys = (
            self.profile_list(self.retained(cookie, action), start, end, limit)
            for action in ("VIEW", "BUY")
        )
        return {"cookie": cookie, "views": views, "buys": buys}

    def retained(self, cookie: str, action: str) -> list[JsonTag]:
        return newest_first(self.by_cookie.get((cookie, action), []))[:200]

    def profile_list(
        self, tags: list[JsonTag], start: datetime, end: datetime, limit: int
    ) -> list[JsonTag]:
        return [tag for tag in tags if start <= instant(tag["time"]) < end][: min(limit, 200)]

    def aggregate(
        self, start: datetime, end: datetime, action: str, names: list[str], filters: dict[str, str]
    ) -> JsonTag:
        minutes: dict[datetime, list[int]] = {}
        minute = start
        while minute < end:
            minutes[minute] = [
                tag["product_info"]["price"]
                for tag in self.by_minute.get(minute, [])
                if tag["action"] == action
                and all(product_of(tag, name) == value for name, value in filters.items())
            ]
            minute += timedelta(minutes=1)
        head = [action, *filters.values()]
        rows = [
            [
                f"{bucket:%Y-%m-%dT%H:%M:%S}",
                *head,
                *(str(len(prices) if name == "COUNT" else sum(prices)) for name in names),
            ]
            for bucket, prices in minutes.items()
        ]
        return {
            "columns": ["1m_bucket", "action", *filters, *(name.lower() for name in names)],
            "rows": rows,
        }


class DropsOneIn500(Store):
    """Answers 204 for a tag it then forgets."""

    seen = 0

    def accept(self, tag: JsonTag) -> None:
        self.seen += 1
        if self.seen % 500:
            super().accept(tag)


class CountsTwice(Store):
    """Puts one tag in 300 into both views twice."""

    seen = 0

    def accept(self, tag: JsonTag) -> None:
        self.seen += 1
        super().accept(tag)
        if self.seen % 300 == 0:
            super().accept(tag)


class LimitsFirst(Store):
    def profile_list(
        self, tags: list[JsonTag], start: datetime, end: datetime, limit: int
    ) -> list[JsonTag]:
        return super().profile_list(tags[:limit], start, end, limit)


class IncludesTheEnd(Store):
    def profile_list(
        self, tags: list[JsonTag], start: datetime, end: datetime, limit: int
    ) -> list[JsonTag]:
        return super().profile_list(tags, start, end + timedelta(milliseconds=1), limit)


class KeepsMoreThanTheDepth(Store):
    def retained(self, cookie: str, action: str) -> list[JsonTag]:
        return newest_first(self.by_cookie.get((cookie, action), []))[:201]


class StringifiesProducts(Store):
    def accept(self, tag: JsonTag) -> None:
        product = {**tag["product_info"], "product_id": str(tag["product_info"]["product_id"])}
        super().accept({**tag, "product_info": product})


class RoundsMinutes(Store):
    """Counts the last half second of a minute in the next one."""

    def bucket(self, tag: JsonTag) -> datetime:
        later = instant(tag["time"]) + timedelta(milliseconds=500)
        return later.replace(second=0, microsecond=0)


@dataclass
class ReferenceServer:
    """Serves a store over HTTP; `delay_seconds` holds back every answer."""

    store: Store
    delay_seconds: float = 0.0
    bodies: list[bytes] = field(default_factory=list)
    port: int = 0

    async def serve(self, started: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self.connection, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await stop.wait()
        server.close()

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *headers = head.decode().split("\r\n")
                length = next(
                    (int(h.split(":")[1]) for h in headers if h.lower().startswith("content-len")),
                    0,
                )
                status, answer = self.answer(line.split()[1], await reader.readexactly(length))
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                head_out = f"HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\n"
                if status != 204:
                    head_out += f"Content-Length: {len(answer)}\r\n"
                writer.write(f"{head_out}\r\n".encode() + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(self, target: str, body: bytes) -> tuple[int, bytes]:
        url = urlsplit(target)
        if url.path == "/user_tags":
            self.store.accept(json.loads(body))
            return 204, b""
        if url.path == "/user_tags/batch":
            lines = body.splitlines()
            for line in lines:
                self.store.accept(json.loads(line))
            return 200, json.dumps({"accepted": len(lines), "rejected": []}).encode()
        if url.path.startswith("/api/"):
            return 404, b"{}"  # it speaks of tags alone
        self.bodies.append(body)
        return 200, json.dumps(answer_query(self.store, target)).encode()


def answer_query(store: Store, target: str) -> JsonTag:
    url = urlsplit(target)
    query = parse_qs(url.query)
    start, end = map(instant, query["time_range"][0].split("_"))
    if url.path == "/aggregates":
        filters = {name: query[name][0] for name in NAMES if name in query}
        return store.aggregate(start, end, query["action"][0], query["aggregates"], filters)
    cookie = unquote(url.path.removeprefix("/user_profiles/"))
    return store.profile(cookie, start, end, int(query.get("limit", ["200"])[0]))


@contextmanager
def serving(server: ReferenceServer) -> Iterator[str]:
    """Runs the server on a loop and thread of its own; gives its address."""
    started, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        await server.serve(started, stop)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    assert started.wait(60)
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        loop.close()
