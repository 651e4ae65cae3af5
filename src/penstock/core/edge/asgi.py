"""The ASGI host: every route, on any ASGI server; durability before the reply."""

import asyncio
from functools import partial
from time import perf_counter

from penstock.core.edge import NO_CONTENT, Message, Receive, Received, Response, Scope, Send
from penstock.core.edge.endpoints import (
    CLIENT_GONE,
    REQUEST_ID,
    Desk,
    Headers,
    IngestEndpoint,
    head_of,
    size_of,
)
from penstock.core.errors import PenstockError, TimedOut, TooLarge
from penstock.core.log import Receipt

_NO_CONTENT_START: Message = {"type": "http.response.start", "status": 204, "headers": ()}
_EMPTY: Message = {"type": "http.response.body", "body": b""}


class ClientGone(Exception):
    """The client hung up before its request was complete; nobody is there to answer."""


class Edge(Desk):
    """An ASGI application. `attach` it to the running loop before the first request."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Kept flat: every coroutine and look-up here is paid by every event."""
        if scope["type"] != "http":
            return
        began = perf_counter()
        timings, status, accountable = self.unmatched, CLIENT_GONE, ""
        headers: Headers = dict(scope["headers"])
        self.in_flight += 1
        try:
            try:
                (endpoint, timings), parameters = self.routes.find(
                    scope["method"], scope["raw_path"]
                )
                accountable = endpoint.topic if isinstance(endpoint, IngestEndpoint) else ""
                target = scope["raw_path"] + scope["query_string"]
                self.check_head(endpoint, len(target) + size_of(scope["headers"]), headers)
                # With no body announced there is nothing to wait for, and a deadline is dear.
                announced = b"content-length" in headers or b"transfer-encoding" in headers
                read = self._awaited_body if announced else _body
                body = await read(endpoint.body_bytes_max, receive)
                client = scope["client"]
                received = Received(
                    scope["method"],
                    parameters,
                    scope["query_string"],
                    headers,
                    body,
                    client[0] if client else "",
                    self.now_ms(),
                )
                if isinstance(endpoint, IngestEndpoint):
                    reply = endpoint.ingest(received)
                    accountable = ""  # from here on the log accounts for the events
                    durable = asyncio.get_running_loop().create_future()
                    if self.commit(endpoint, reply, partial(_resolve, durable)):
                        await durable
                    response = reply.response
                else:
                    response = await endpoint.answer(received)
            except ClientGone:
                raise
            except PenstockError as error:
                self.account(accountable)
                response = self.refusal((scope["method"], scope["path"], headers), error)
            except Exception as error:  # noqa: BLE001 - a defect of ours is answered as such
                self.account(accountable)
                request = (scope["method"], scope["path"], headers)
                response = self.refusal(request, PenstockError(), cause=error)
            start, content = _messages(response, headers)
            await send(start)
            await send(content)
            status = response.status
        except (ClientGone, asyncio.CancelledError):
            return
        finally:
            self.in_flight -= 1
            timings.observe(status, perf_counter() - began)

    async def _awaited_body(self, limit: int, receive: Receive) -> bytes:
        """The whole body, within size and time."""
        try:
            async with asyncio.timeout(self.settings.body_seconds_max):
                return await _body(limit, receive)
        except TimeoutError:
            raise TimedOut from None


async def _body(limit: int, receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message["body"])
        size += len(message["body"])
        if size > limit:
            raise TooLarge(f"the body may have at most {limit} bytes")
        if not message["more_body"]:
            return b"".join(parts)


def _resolve(durable: "asyncio.Future[None]", outcome: Receipt | PenstockError) -> None:
    if durable.done():
        return
    if isinstance(outcome, PenstockError):
        durable.set_exception(outcome)
    else:
        durable.set_result(None)


def _messages(response: Response, headers: Headers) -> tuple[Message, Message]:
    if response is NO_CONTENT and REQUEST_ID not in headers:
        return _NO_CONTENT_START, _EMPTY
    start = {
        "type": "http.response.start",
        "status": response.status,
        "headers": head_of(response, headers),
    }
    return start, {"type": "http.response.body", "body": response.body}
