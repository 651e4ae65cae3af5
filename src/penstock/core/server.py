"""Running a platform: uvicorn in front, signals in, and a drain that loses nothing."""

import asyncio
import gc
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, cast

import uvicorn
import uvloop

from penstock.core import tls
from penstock.core.admin import admin_edge
from penstock.core.control import Control
from penstock.core.edge.asgi import Edge
from penstock.core.edge.connection import Connection, sweep
from penstock.core.edge.heads import Heads
from penstock.core.edge.lane import LaneConnection
from penstock.core.edge.watchdog import Watchdog
from penstock.core.errors import Misconfigured
from penstock.core.health import Health
from penstock.core.platform import Platform
from penstock.core.tls import Address, Identity

_SWITCH_SECONDS = 0.0005
"""How long a projection may keep the interpreter from the edge when both want it."""
_GC_ALLOCATIONS = 50_000
"""Requests leave no cycles behind: look for them less often than after every 700 objects."""
_BACKLOG = 2_048
_WATCH_SECONDS = 0.5
_HANDSHAKE_SECONDS_MIN = 0.1
_SETTLE_SECONDS = 0.005

Ready = Callable[[str], None]
Beside = Callable[[Address], Coroutine[None, None, None]]


def serve(platform: Platform, ready: Ready, beside: Sequence[Beside] = ()) -> int:
    """Serve until SIGTERM or SIGINT, then drain; the process's exit status.

    `ready` gets the URL once requests are answered; everything that runs `beside` knows what it may
    ask there, and is cancelled at the end. The platform is closed on return.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(_GC_ALLOCATIONS, 20, 50)
    _raise_open_files()
    try:
        handshake_seconds = max(platform.settings.head_seconds_max, _HANDSHAKE_SECONDS_MIN)
        with asyncio.Runner(loop_factory=partial(_Loop, handshake_seconds)) as runner:
            runner.run(_serve(platform, ready, beside))
    finally:
        platform.close()
    return 1 if platform.log is not None and platform.log.failure().startswith("fatal") else 0


class _Loop(uvloop.Loop):
    """Bounds the handshake of TLS as the head of a request is bound; uvicorn leaves it a minute."""

    def __init__(self, handshake_seconds: float) -> None:
        super().__init__()
        self._handshake_seconds = handshake_seconds

    async def create_server(self, *arguments: Any, **options: Any) -> Any:
        if options.get("ssl") is not None:
            options["ssl_handshake_timeout"] = self._handshake_seconds
        return await super().create_server(*arguments, **options)


class _Server(uvicorn.Server):
    """Leaves signals to us: uvicorn's own way ends the process before the stores are closed."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    def _stop(self) -> None:
        """The first signal drains; a second one does not wait."""
        self.force_exit = self.should_exit
        self.should_exit = True


class _Admin(uvicorn.Server):
    """Lives and ends with the server beside it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _admin(platform: Platform) -> None:
    """Serve the admin listener until cancelled."""
    config = uvicorn.Config(admin_edge(platform), lifespan="off", log_config=None, access_log=False)
    server = _Admin(config)
    serving = asyncio.create_task(
        server.serve([_listen("127.0.0.1", platform.settings.admin_port)])
    )
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await serving


async def _watch(platform: Platform, server: uvicorn.Server) -> None:
    """End a process that can make nothing durable any more; a new one recovers."""
    while platform.log is None or not platform.log.failure().startswith("fatal"):  # noqa: ASYNC110 - it fails on a thread of its own
        await asyncio.sleep(_WATCH_SECONDS)
    server.should_exit = True


async def _hang_up(server: uvicorn.Server) -> None:
    """A client of TLS that idles does not see our goodbye, and a stop would wait for its own."""
    said: set[Any] = set()
    while True:
        await asyncio.sleep(_WATCH_SECONDS)
        if server.should_exit:
            present: set[Any] = set(server.server_state.connections)
            for connection in said & present:
                connection.transport.abort()
            said = {
                connection
                for connection in present - said
                if connection.transport.is_closing()
                and not connection.transport.get_write_buffer_size()
            }


async def _serve(platform: Platform, ready: Ready, beside: Sequence[Beside]) -> None:
    settings = platform.settings
    identity = tls.identity(settings.tls_certificate, settings.tls_key)
    sockets = [_listen(settings.host, settings.port)]
    platform.edge.attach(asyncio.get_running_loop())
    watchdog = Watchdog(asyncio.get_running_loop())
    platform.registry.sources.append(watchdog)
    Health(platform).offer()
    control = Control(platform) if platform.stores is not None else None
    if control is not None:
        control.offer()
    platform.start()
    server = _Server(
        uvicorn.Config(
            platform.edge,
            http=_connections(fast_lane=settings.fast_lane),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # the edge asks its own list of trusted proxies
            timeout_graceful_shutdown=max(1, int(settings.drain_seconds_max)),
            backlog=_BACKLOG,
            ssl_context_factory=None if identity is None else lambda *_: identity.context,
        )
    )
    serving = asyncio.create_task(server.serve(sockets))
    await asyncio.wait(
        [serving, asyncio.create_task(server.up.wait())], return_when="FIRST_COMPLETED"
    )
    address = _address(sockets[0], identity)
    door = control.open(address) if control is not None else None
    helpers = [asyncio.create_task(task(address)) for task in beside]
    helpers.append(asyncio.create_task(_watch(platform, server)))
    if identity is not None:
        helpers.append(asyncio.create_task(_hang_up(server)))
    helpers.append(asyncio.create_task(sweep(platform.edge, server.server_state.connections)))
    if settings.admin_port:
        helpers.append(asyncio.create_task(_admin(platform)))
    watchdog.start()
    ready(address.url)
    try:
        await serving
        await settle_behind(platform.edge, settings.drain_seconds_max)
    finally:
        watchdog.stop()
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        if door is not None:
            door.unlink(missing_ok=True)


def _raise_open_files() -> None:
    """Every connection is an open file, and the customary soft limit is there for programs that use
    `select`, which this one does not.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS has a limit below the one that it tells
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def settle_behind(edge: Edge, seconds_max: float) -> None:
    """What was answered first is still to be stored; the loop that carries it must not end."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds_max):
            while edge.behind:  # noqa: ASYNC110 - it is counted down by the log's thread
                await asyncio.sleep(_SETTLE_SECONDS)


def _connections(*, fast_lane: bool) -> type[asyncio.Protocol]:
    """What uvicorn calls for each connection."""
    if not fast_lane:
        return Connection
    return cast("type[asyncio.Protocol]", partial(LaneConnection, heads=Heads()))


def _address(listening: socket.socket, identity: Identity | None) -> Address:
    host, port = listening.getsockname()[:2]
    place = f"[{host}]:{port}" if listening.family == socket.AF_INET6 else f"{host}:{port}"
    if identity is None:
        return Address(f"http://{place}")
    return Address(f"https://{place}", identity.certificate)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server(
            (host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=both
        )
    except OSError as error:
        raise Misconfigured(
            f"listening on {host}:{port}: {error.strerror}; choose another with --host and --port"
        ) from error
