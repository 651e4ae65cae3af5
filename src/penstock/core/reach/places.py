"""Where requests may go: which URLs are read, and which addresses are anybody's.

A URL is read by one strict pattern, so that no other reader can find another host in it. Of
addresses only those are let through that mean the same place for everyone; what IANA's registries
of special addresses name, and a few that only look public, are closed.
"""

import re
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import NamedTuple

from penstock.core.errors import Misconfigured
from penstock.core.reach import OutOfBounds

Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

_URL_CHARACTERS_MAX = 8_192
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f]{0,4}:[0-9a-f:.]{1,45}\]|[a-z0-9_.-]{1,253})"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<target>[/?][!\"$-~]*)?(?:\#[!-~]*)?",
    re.ASCII | re.IGNORECASE,
)
_A_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\.?", re.ASCII)
"""What a resolver may take for an address, or a part of one, in whatever base."""
_PORTS = {"http": 80, "https": 443}

_CLOSED = [
    ip_network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32", # Azure's, for its guests alone
        "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
    )
]  # fmt: skip
_UNICAST = IPv6Network("2000::/3")
"""All that is given to anybody of IPv6."""
_GUARDED = [
    ip_network(network)
    for network in (
        "169.254.0.0/16", "fe80::/10", "168.63.129.16/32", "100.100.100.200/32",
        "fd00:ec2::254/128", "fd20:ce::254/128",
    )
]  # fmt: skip
"""Where clouds tell their guests secrets: opened by a network that lies in one of these, and by no
wider one."""
_NAT64 = IPv6Network("64:ff9b::/96")


class Target(NamedTuple):
    scheme: str
    host: str
    """A name in lower case, or an address without brackets."""
    port: int
    target: str
    """Path and query."""

    @property
    def place(self) -> str:
        """As in the header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def literal(self) -> Address | None:
        """Its address, if it names no name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None


def read(url: str) -> Target:
    """Raise `OutOfBounds`; its message does not repeat a URL, which may be a secret."""
    found = _URL.fullmatch(url) if len(url) <= _URL_CHARACTERS_MAX else None
    if found is None:
        raise OutOfBounds(
            "a URL is http:// or https://, a host in ASCII, a port if need be, a path and a query; "
            "without a user or password"
        )
    scheme, host = found["scheme"].lower(), found["host"].lower().strip("[]")
    target = found["target"] or "/"
    asked = Target(
        scheme,
        host,
        int(found["port"] or _PORTS[scheme]),
        target if target.startswith("/") else f"/{target}",
    )
    if asked.literal is None and (
        ":" in host or _A_NUMBER.fullmatch(host.removesuffix(".").split(".")[-1])
    ):
        raise OutOfBounds(f"{host} is no address as it is commonly written, and no name either")
    return asked


class Bounds:
    """What may be reached: the public addresses, and the networks that the settings name."""

    def __init__(self, networks: str, ports: str) -> None:
        """Comma-separated. Raise `Misconfigured`."""
        try:
            self._networks = [ip_network(name, strict=False) for name in _names(networks)]
        except ValueError as error:
            raise Misconfigured(
                f"setting PENSTOCK_REACH_NETWORKS: {error}; write networks, as in 10.1.0.0/16, ::1"
            ) from error
        try:
            self._ports = frozenset(map(int, _names(ports)))
        except ValueError as error:
            raise Misconfigured(
                f"setting PENSTOCK_REACH_PORTS: {ports} is no list of ports as in 80, 443"
            ) from error

    def check_port(self, target: Target) -> None:
        if target.port not in self._ports:
            raise OutOfBounds(
                f"port {target.port} of {target.host} is not among those that may be reached; "
                "PENSTOCK_REACH_PORTS names them"
            )

    def check(self, host: str, address: Address) -> None:
        """Raise `OutOfBounds`; its message does not tell the address, its detail does."""
        meant = _meant(address)
        if not (_is_public(meant) or any(_opens(network, meant) for network in self._networks)):
            raise OutOfBounds(
                f"{host} is at an address that is not public, nor opened by "
                "PENSTOCK_REACH_NETWORKS",
                detail=str(address),
            )


def _meant(address: Address) -> Address:
    """The IPv4 address that one of IPv6 stands for, if it does."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _is_public(address: Address) -> bool:
    if address.version == 6 and address not in _UNICAST:
        return False
    closed = any(address in network for network in _CLOSED)
    return address.is_global and not address.is_multicast and not closed


def _opens(network: _Network, address: Address) -> bool:
    if address not in network:
        return False
    guards = [guard for guard in _GUARDED if address in guard]
    return not guards or any(_within(network, guard) for guard in guards)


def _within(network: _Network, guard: _Network) -> bool:
    return network.network_address in guard and network.broadcast_address in guard


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]
