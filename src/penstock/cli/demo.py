"""`serve --demo`: a small stream of made-up events, sent through the front door like any client."""

import asyncio
import http.client
from urllib.parse import urlsplit

from penstock.core.manifest import Manifest
from penstock.core.platform import Platform
from penstock.core.server import Beside

_TURN_SECONDS = 1.0
_TIMEOUT_SECONDS = 5.0


def feed(platform: Platform) -> Beside:
    async def run(url: str) -> None:
        turn = 0
        while True:
            await asyncio.sleep(_TURN_SECONDS)
            now = platform.clock.now_ms()
            for manifest in platform.manifests:
                await asyncio.to_thread(_post, url, manifest, turn, now)
            turn += 1

    return run


def _post(url: str, manifest: Manifest, turn: int, now_ms: int) -> None:
    if manifest.demo is None:
        return
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_TIMEOUT_SECONDS)
    try:
        for path, body in manifest.demo(turn, now_ms):
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return  # the server is stopping; a demonstration is not worth a word about it
    finally:
        connection.close()
