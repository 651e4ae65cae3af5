"""Ports for servers that are killed and come back to the same address."""

import secrets
import socket
from pathlib import Path

_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST, _END = 10_000, 32_768


def free_ports(number: int) -> list[int]:
    """Ports of loopback that nobody listens on.

    They lie below those that the system gives to outgoing connections: from there a client could
    take the port of a server that is down, or connect to itself on it.
    """
    end = min(_END, int(_OUTGOING.read_text().split()[0])) if _OUTGOING.exists() else _END
    found: set[int] = set()
    while len(found) < number:
        # Not `random`, whose seed pytest-randomly sets: two runs would want the same ports.
        port = _FIRST + secrets.randbelow(end - _FIRST)
        if _free(port):
            found.add(port)
    return list(found)


def _free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
