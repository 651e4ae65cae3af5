"""`serve --demo`: a small stream of made-up events, sent through the front door like any client."""

import asyncio
import http.client

from penstock.core.manifest import Manifest
from penstock.core.platform import Platform
from penstock.core.server import Beside
from penstock.core.tls import Address

_TURN_SECONDS = 1.0
_TIMEOUT_SECONDS = 5.0


def feed(platform: Platform) -> Beside:
    async def run(address: Address) -> None:
        turn = 0
        while True:
            await asyncio.sleep(_TURN_SECONDS)
            now = platform.clock.now_ms()
            for manifest in platform.manifests:
                await asyncio.to_thread(_post, address, manifest, turn, now)
            turn += 1

    return run


def _post(address: Address, manifest: Manifest, turn: int, now_ms: int) -> None:
    if manifest.demo is None:
        return
    connection = address.connect(_TIMEOUT_SECONDS)
    try:
        for path, body in manifest.demo(turn, now_ms):
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return  # the server is stopping; a demonstration is not worth a word about it
    finally:
        connection.close()
