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


@contextmanager
def doors(settings: Settings) -> Iterator[Doors]:
    """Closed in the end. Raise `Misconfigured`."""
    with ExitStack() as opened:
        identity = tls.identity(settings.tls_certificate, settings.tls_key)
        users = opened.enter_context(_bound(settings.host, settings.port))
        admin = None
        if settings.admin_port:
            admin = opened.enter_context(_bound("127.0.0.1", settings.admin_port))
        yield Doors(users, admin, identity)


def listen(door: socket.socket, backlog: int) -> socket.socket:
    """Raise `Misconfigured` when another process was faster since it was bound."""
    try:
        door.listen(backlog)
    except OSError as error:
        host, port = door.getsockname()[:2]
        raise _refusal(host, port, error) from error
    return door


def _bound(host: str, port: int) -> socket.socket:
    """As `socket.create_server` does, which listens too."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    door = socket.socket(family)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            both = host == "::" and socket.has_dualstack_ipv6()
            door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
        door.bind((host, port))
    except OSError as error:
        door.close()
        raise _refusal(host, port, error) from error
    return door


def _refusal(host: str, port: int, error: OSError) -> Misconfigured:
    return Misconfigured(
        f"listening on {host}:{port}: {error.strerror or error}; choose another with --host and "
        "--port"
    )
