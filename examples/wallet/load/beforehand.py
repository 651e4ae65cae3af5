"""Whether answers can be graded at all, which is asked before anything is sent."""

import asyncio
import json
from time import monotonic
from typing import Any

from penstock.load.asking import Asker

TOPIC = "wallet.payments"
_PATIENCE_SECONDS = 30.0
"""A server that has just been started may not answer yet."""
_AGAIN_SECONDS = 0.1
_OK = 200


class Unfit(Exception):
    """They cannot be: why not, and what to do."""


async def look(asker: Asker, url: str, *, again: bool) -> None:
    """`again`: it was all sent before. Raise `Unfit`."""
    judge(await _pipeline(asker, url), url, again=again)


def judge(pipeline: Any, url: str, *, again: bool) -> None:
    """What `/api/pipeline` answers. Raise `Unfit`."""
    topics = {of["topic"]: of.get("end") for of in pipeline.get("topics", [])}
    if TOPIC not in topics:
        raise Unfit(
            f"{url} does not serve the wallet; start the server in the folder of the package, "
            "with PENSTOCK_APPLICATIONS=wallet"
        )
    if topics[TOPIC] and not again:
        raise Unfit(
            f"{url} holds {topics[TOPIC]} payments already, and only an empty one can be graded; "
            "start the server with another folder for --data"
        )


async def _pipeline(asker: Asker, url: str) -> Any:
    deadline = monotonic() + _PATIENCE_SECONDS
    while True:
        exchange = await asker.get("/api/pipeline")
        if exchange.status == _OK:
            return json.loads(exchange.body)
        if 0 < exchange.status < 500:
            raise Unfit(f"{url}/api/pipeline answers {exchange.status}: is it the wallet's server?")
        if monotonic() > deadline:
            said = exchange.status if exchange.status > 0 else asker.trouble or "nothing"
            raise Unfit(f"{url}/api/pipeline answers {said}; is it busy, or does it speak https?")
        await asyncio.sleep(_AGAIN_SECONDS)


def unreached(port: int) -> str:
    return (
        f"no receipt has come to 127.0.0.1:{port}; start the server with "
        f"PENSTOCK_REACH_NETWORKS=127.0.0.0/8 and PENSTOCK_REACH_PORTS={port}"
    )
