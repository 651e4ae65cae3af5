"""Running a platform: uvicorn in front, signals in, and a drain that loses nothing."""

import asyncio
import gc
import socket
import sys
from collections.abc import Awaitable, Callable

import uvicorn
import uvloop

from penstock.core.errors import Misconfigured
from penstock.core.health import Health
from penstock.core.platform import Platform

_SWITCH_SECONDS = 0.001
"""How long a projection may keep the interpreter from the edge when both want it."""
_KEEP_ALIVE_SECONDS = 75
_BACKLOG = 2_048

Ready = Callable[[str], Awaitable[None] | None]


def serve(platform: Platform, ready: Ready) -> int:
    """Serve until SIGTERM or SIGINT, then drain; the process's exit status.

    `ready` gets the address once requests are answered. The platform is closed on return.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.freeze()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(platform, ready))
    finally:
        platform.close()
    return 1 if platform.log is not None and platform.log.failure().startswith("fatal") else 0


async def _serve(platform: Platform, ready: Ready) -> None:
    settings = platform.settings
    sockets = [_listen(settings.host, settings.port)]
    platform.edge.attach(asyncio.get_running_loop())
    Health(platform).offer()
    platform.start()
    server = uvicorn.Server(
        uvicorn.Config(
            platform.edge,
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=settings.trusted_proxies or None,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(1, int(settings.drain_seconds_max)),
            backlog=_BACKLOG,
        )
    )
    serving = asyncio.create_task(server.serve(sockets))
    while not server.started and not serving.done():
        await asyncio.sleep(0.005)
    host, port = sockets[0].getsockname()[:2]
    outcome = ready(f"http://{host}:{port}")
    if outcome is not None:
        await outcome
    await serving


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=_BACKLOG)
    except OSError as error:
        raise Misconfigured(
            f"listening on {host}:{port}: {error.strerror}; choose another with --host and --port"
        ) from error
