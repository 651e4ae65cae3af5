"""Who the client is when requests come through proxies."""

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from penstock.core.errors import Misconfigured

FORWARDED_FOR = b"x-forwarded-for"


class Proxies:
    """Addresses and networks whose word about a client's address is believed."""

    def __init__(self, trusted: str) -> None:
        """Comma-separated; `*` trusts everyone. Raise `Misconfigured`."""
        names = [name.strip() for name in trusted.split(",") if name.strip()]
        self._everyone = "*" in names
        self._networks: list[IPv4Network | IPv6Network] = []
        for name in names:
            if name != "*":
                try:
                    self._networks.append(ip_network(name, strict=False))
                except ValueError as error:
                    raise Misconfigured(
                        f"setting PENSTOCK_TRUSTED_PROXIES: {error}; write addresses or networks, "
                        "as in 10.0.0.0/8, 127.0.0.1"
                    ) from error

    def __bool__(self) -> bool:
        return self._everyone or bool(self._networks)

    def trusts(self, peer: str) -> bool:
        return self._trusts(_address(peer))

    def client(self, peer: str, forwarded_for: bytes) -> str:
        """The nearest address on the way that is not a trusted proxy's; `peer` if it is not one.

        Anybody may have written what stands left of it.
        """
        if not self._trusts(_address(peer)):
            return peer
        nearest = peer
        for hop in reversed(forwarded_for.decode("latin-1").split(",")):
            address = _address(hop.strip())
            if address is None:
                break
            nearest = str(address)
            if not self._trusts(address):
                break
        return nearest

    def _trusts(self, address: IPv4Address | IPv6Address | None) -> bool:
        if address is None:
            return False
        return self._everyone or any(address in network for network in self._networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """None where it is not one. What listens on IPv6 sees IPv4 in an envelope: without it."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.version == 6 and address.ipv4_mapped) or address
