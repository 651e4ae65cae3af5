"""Where a process is to be asked: what it needs for that is had before a store is opened.

So a start that cannot be, because a port is taken or a key is not that of its certificate, has
made nothing. Nobody is let in before `listen`: whoever comes earlier is refused at once.
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from penstock.core import tls
from penstock.core.errors import Misconfigured
from penstock.core.settings import Settings
from penstock.core.tls import Address, Identity

_USERS = "choose another with --host and --port"
_ADMIN = "choose another with PENSTOCK_ADMIN_PORT"


class Doors(NamedTuple):
    users: socket.socket
    admin: socket.socket | None
    identity: Identity | None

    @property
    def address(self) -> Address:
        host, port = self.users.getsockname()[:2]
        place = f"[{host}]:{port}" if self.users.family == socket.AF_INET6 else f"{host}:{port}"
        if self.identity is None:
            return Address(f"http://{place}")
        return Address(f"https://{place}", self.identity.certificate)

    def listen(self, backlog: int) -> None:
        """Who comes now waits. Raise `Misconfigured` when another process was faster."""
        for door, remedy in ((self.users, _USERS), (self.admin, _ADMIN)):
            if door is not None:
                host, port = door.getsockname()[:2]
                with _refused(host, port, remedy):
                    door.listen(backlog)


@contextmanager
def doors(settings: Settings) -> Iterator[Doors]:
    """Closed in the end. Raise `Misconfigured`."""
    with ExitStack() as opened:
        identity = tls.identity(settings.tls_certificate, settings.tls_key)
        users = opened.enter_context(_bound(settings.host, settings.port, _USERS))
        admin = None
        if settings.admin_port:
            admin = opened.enter_context(_bound("127.0.0.1", settings.admin_port, _ADMIN))
        yield Doors(users, admin, identity)


@contextmanager
def _bound(host: str, port: int, remedy: str) -> Iterator[socket.socket]:
    """As `socket.create_server` does, which listens too."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as door:
        with _refused(host, port, remedy):
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                both = host == "::" and socket.has_dualstack_ipv6()
                door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
            door.bind((host, port))
        yield door


@contextmanager
def _refused(host: str, port: int, remedy: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise Misconfigured(f"listening on {host}:{port}: {reason}; {remedy}") from error
