"""The ASGI host: every route, on any ASGI server; durability before the reply."""

import asyncio
from functools import partial
from time import perf_counter

from penstock.core.edge import (
    NO_CONTENT,
    Message,
    Receive,
    Received,
    Response,
    Scope,
    Send,
    codings,
)
from penstock.core.edge.endpoints import CLIENT_GONE, Desk, Endpoint, IngestEndpoint
from penstock.core.edge.wire import REQUEST_ID, Headers, by_name, head_of, request_id_of
from penstock.core.errors import PenstockError, TimedOut, TooLarge

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
        headers = by_name(scope["headers"])
        self.in_flight += 1
        try:
            try:
                (endpoint, timings), parameters = self.routes.find(
                    scope["method"], scope["raw_path"]
                )
                accountable = endpoint.topic if isinstance(endpoint, IngestEndpoint) else ""
                body = await self._body(endpoint, scope, headers, receive)
                client = scope["client"][0] if scope["client"] else ""
                received = Received(
                    scope["method"],
                    parameters,
                    scope["query_string"],
                    headers,
                    body,
                    client if self.proxies is None else self.client(client, headers),
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

    async def _body(
        self, endpoint: Endpoint, scope: Scope, headers: Headers, receive: Receive
    ) -> bytes:
        """The whole body, within size and time, as it was before it was coded."""
        target = scope["raw_path"] + scope["query_string"]
        coding = self.check_head(endpoint, target, scope["headers"], headers)
        if b"content-length" not in headers and b"transfer-encoding" not in headers:
            # With no body announced there is nothing to wait for, and a deadline is dear.
            body = await _read(endpoint.body_bytes_max, receive)
        else:
            try:
                async with asyncio.timeout(self.settings.body_seconds_max):
                    body = await _read(endpoint.body_bytes_max, receive)
            except TimeoutError:
                raise TimedOut from None
        return codings.inflate(coding, body, endpoint.body_bytes_max) if coding else body


async def _read(limit: int, receive: Receive) -> bytes:
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


def _resolve(durable: "asyncio.Future[None]", error: PenstockError | None) -> None:
    if durable.done():
        return
    if error is not None:
        durable.set_exception(error)
    else:
        durable.set_result(None)


def _messages(response: Response, headers: Headers) -> tuple[Message, Message]:
    if response is NO_CONTENT and REQUEST_ID not in headers:
        return _NO_CONTENT_START, _EMPTY
    named = head_of(response, request_id_of(headers))
    if response.status == TimedOut.status:
        named.append((b"connection", b"close"))  # its body may still come, but nobody waits for it
    start = {"type": "http.response.start", "status": response.status, "headers": named}
    return start, {"type": "http.response.body", "body": response.body}
