"""Names of hosts, and which of them are claimed for what.

A host may be claimed for a class: what is offered to that class is answered there and nowhere else,
what is offered to none is answered everywhere. So a catch-all for links swallows nothing of a
console that is served beside it.
"""

import re
from typing import get_args

from penstock.core.errors import Misconfigured
from penstock.core.interface import HostClass

CLASSES = tuple(filter(None, get_args(HostClass)))
_UNCLAIMED = "*"
_BELOW = "*."
_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")
_NAME_CHARACTERS_MAX = 253
"""Of a name in DNS; a longer one is nobody's."""


def is_host(host: str) -> bool:
    """Whether a `plain` one is a name, or an address as URLs have it."""
    return len(host) <= _NAME_CHARACTERS_MAX and _HOST.fullmatch(host) is not None


def plain(authority: str) -> str:
    """A host as it is compared: small letters, without port, and without the root's dot."""
    host = authority.lower()
    name, _, port = host.rpartition(":")
    if name and port.isdigit() and (host[0] != "[" or name[-1] == "]"):
        host = name
    return host.rstrip(":").removesuffix(".")


class Hosts:
    def __init__(self, setting: str) -> None:
        """`class=host`s with commas: a name, `*.name` for all below it, or `*` for those that
        nobody claims. Raise `Misconfigured`.
        """
        self._named: dict[str, str] = {}
        self._below: dict[str, str] = {}
        self._unclaimed = ""
        for word in filter(None, map(str.strip, setting.split(","))):
            kind, _, host = (part.strip() for part in word.partition("="))
            if kind not in CLASSES or not host:
                raise Misconfigured(
                    f"PENSTOCK_HOSTS: {word!r} claims no host for anything; write "
                    f"{' or '.join(f'{known}=host.example' for known in CLASSES)}"
                )
            self._claim(kind, host)

    def _claim(self, kind: str, host: str) -> None:
        below = host.startswith(_BELOW)
        name = plain(host.removeprefix(_BELOW))
        if host == _UNCLAIMED:
            known, self._unclaimed = self._unclaimed, kind
        else:
            claims = self._below if below else self._named
            known, claims[name] = claims.get(name, ""), kind
            if not is_host(name):
                raise Misconfigured(
                    f"PENSTOCK_HOSTS: {host!r} is no host; write go.example, *.go.example or *"
                )
        if known and known != kind:
            raise Misconfigured(
                f"PENSTOCK_HOSTS: {host} is claimed for {known} and for {kind}; a host has one use"
            )

    def of(self, host: str) -> str:
        """The class of a `plain` host; nothing where it has none."""
        kind = self._named.get(host)
        if kind is None and self._below and len(host) <= _NAME_CHARACTERS_MAX:
            above = host
            while kind is None and above:
                _, _, above = above.partition(".")
                kind = self._below.get(above)
        return self._unclaimed if kind is None else kind
