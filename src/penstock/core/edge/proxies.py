"""Who the client is when requests come through proxies, and what it asked them for.

A proxy adds the address that it was asked from behind what `X-Forwarded-For` or `Forwarded` said
already. So they are read from their ends, and what anybody may have written on the left cannot
change how the right is read.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import islice, zip_longest
from typing import NamedTuple

from penstock.core.errors import Misconfigured

FORWARDED_FOR = b"x-forwarded-for"
FORWARDED = b"forwarded"
FORWARDED_HOST = b"x-forwarded-host"
FORWARDED_PROTO = b"x-forwarded-proto"

_HOPS_MAX = 32
_PAIRS_MAX = 256
"""Proxies in a row, and what they say of themselves: a header may hold thousands, and each of them
costs a few microseconds.
"""
_NODE_CHARACTERS_MAX = 64
_NODES_CACHED = 4_096
_NODE = re.compile(
    r"(?:\[(?P<bracketed>[0-9a-f]{0,4}:[0-9a-f:.]+)\]|(?P<v4>[0-9.]+))(?::(?:\d{1,5}|_[\w.-]+))?"
    r"|(?P<v6>[0-9a-f]{0,4}:[0-9a-f:.]+)",
    re.ASCII | re.IGNORECASE,
)
"""An address, and perhaps a port. Neither a zone nor anything else that is not to be repeated."""
_PAIR_BACKWARDS = re.compile(
    r"[ \t]*+(?:(?:\"(?P<quoted>[^\"]*+(?:\"\\[^\"]*+)*+)\"|(?P<bare>[^\"=,; \t]*+))"
    r"=(?P<name>[^\"=,; \t]++))?[ \t]*+(?P<end>[;,]|\Z)"
)
"""One of `Forwarded` (RFC 7239), and the separator before it."""


class Asked(NamedTuple):
    """What a client asked a proxy for, as the nearest one says; empty where it does not."""

    host: str = ""
    scheme: str = ""


class Proxies:
    """Addresses and networks whose word about a client is believed."""

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
        self._known = lru_cache(maxsize=_NODES_CACHED)(self._read)
        """A request costs five microseconds with these at hand, and twenty without."""

    def __bool__(self) -> bool:
        return self._everyone or bool(self._networks)

    def trusts(self, peer: str) -> bool:
        """Whether it is one of them."""
        known = self._node(peer.partition("%")[0])
        return known is not None and known.trusted

    def client(self, peer: str, headers: Mapping[bytes, bytes]) -> str:
        """The nearest address on the way that is not a trusted proxy's; `peer` if it is not one.

        Where there are both headers, proxies may write but one of them and let the client's other
        pass: the way is known as far as both say the same.
        """
        known = self._node(peer.partition("%")[0])
        if known is None or not known.trusted:
            return peer
        ways = [read(headers[name]) for name, read in _READ.items() if headers.get(name)]
        nearest = peer
        for said in islice(zip_longest(*ways), _HOPS_MAX):
            nodes = {self._node(text) for text in said if text is not None}
            node = nodes.pop()
            if nodes or node is None:
                break
            nearest = node.address
            if not node.trusted:
                break
        return nearest

    @staticmethod
    def asked(headers: Mapping[bytes, bytes]) -> Asked:
        """By a request of one that is trusted; as far as all of its headers say the same."""
        said = next(_elements(headers.get(FORWARDED, b"")), None) or {}
        hosts = {_last(headers, FORWARDED_HOST), said.get("host", "").lower()} - {""}
        schemes = {_last(headers, FORWARDED_PROTO), said.get("proto", "").lower()} - {""}
        return Asked(_only(hosts), _only(schemes))

    def _node(self, text: str) -> "_Node | None":
        return self._known(text) if len(text) <= _NODE_CHARACTERS_MAX else None

    def _read(self, text: str) -> "_Node | None":
        """None where it is no address. What listens on IPv6 sees IPv4 in an envelope: without."""
        node = _NODE.fullmatch(text)
        if node is None:
            return None
        try:
            address = ip_address(node["bracketed"] or node["v4"] or node["v6"])
        except ValueError:
            return None
        address = (address.version == 6 and address.ipv4_mapped) or address
        trusted = self._everyone or any(address in network for network in self._networks)
        return _Node(str(address), trusted)


class _Node(NamedTuple):
    address: str
    trusted: bool


def _hops_of_forwarded_for(header: bytes) -> Iterator[str]:
    """From the nearest on."""
    for hop in reversed(header.decode("latin-1").rsplit(",", _HOPS_MAX)):
        yield hop.strip()


def _last(headers: Mapping[bytes, bytes], name: bytes) -> str:
    """Of a list, what the nearest proxy has added to it."""
    return headers.get(name, b"").rpartition(b",")[2].strip(b" \t").decode("latin-1").lower()


def _only(said: set[str]) -> str:
    return said.pop() if len(said) == 1 else ""


def _hops_of_forwarded(header: bytes) -> Iterator[str]:
    """From the nearest on; empty for an element that names no node or is none."""
    for element in _elements(header):
        yield (element or {}).get("for", "")


def _elements(header: bytes) -> Iterator[dict[str, str] | None]:
    """From the nearest on, by name in small letters; None for what is none. What one says twice it
    does not say.

    Backwards letter by letter: forwards, a quotation mark that a client has left open would take in
    what the proxies wrote after it.
    """
    text = header.decode("latin-1")[::-1]
    at = 0
    pairs: dict[str, str] = {}
    for _ in range(_PAIRS_MAX):
        pair = _PAIR_BACKWARDS.match(text, at)
        if pair is None:
            break
        if pair["name"]:
            name = pair["name"][::-1].lower()
            value = (pair["quoted"] or pair["bare"] or "")[::-1]
            pairs[name] = "" if name in pairs else value
        if pair["end"] != ";":
            yield pairs
            pairs = {}
        if not pair["end"]:
            return
        at = pair.end()
    yield None


_READ = {FORWARDED_FOR: _hops_of_forwarded_for, FORWARDED: _hops_of_forwarded}
