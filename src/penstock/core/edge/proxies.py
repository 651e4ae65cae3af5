"""Who the client is when requests come through proxies."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

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

    def client(self, peer: str, forwarded_for: bytes) -> str:
        """The nearest address on the way that is not a trusted proxy's; `peer` if it is not one.

        Anybody may have written what stands left of it.
        """
        if not self._trusts(peer):
            return peer
        hops = [hop.strip() for hop in forwarded_for.decode("latin-1").split(",")]
        for hop in reversed(hops):
            if not self._trusts(hop):
                return hop if _is_address(hop) else peer
            peer = hop
        return peer

    def _trusts(self, address: str) -> bool:
        if not _is_address(address):
            return False
        found = ip_address(address)
        return self._everyone or any(found in network for network in self._networks)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
