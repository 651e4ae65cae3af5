"""The reference for ingest: a bare ASGI application on uvicorn that decodes a tag with msgspec and
answers 204. It validates nothing further and stores nothing."""

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import uvicorn


class Product(msgspec.Struct, gc=False):
    product_id: int | str
    brand_id: str
    category_id: str
    price: int


class Tag(msgspec.Struct, gc=False):
    time: str
    cookie: str
    country: str
    device: str
    action: str
    origin: str
    product_info: Product


decode = msgspec.json.Decoder(Tag).decode
START = {"type": "http.response.start", "status": 204, "headers": []}
BODY = {"type": "http.response.body", "body": b""}


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    del scope
    message = await receive()
    decode(message["body"])
    await send(START)
    await send(BODY)


if __name__ == "__main__":
    uvicorn.run(
        application,
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
    )
