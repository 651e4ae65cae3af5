"""Cookies: read of a request, and spelled for an answer (RFC 6265, and what browsers do today)."""

import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Literal

from penstock.core.edge import Received

SameSite = Literal["Strict", "Lax", "None"]

SECONDS_MAX = 400 * 86_400
"""Browsers keep none for longer."""
COOKIES_MAX = 100
"""So many are read of a request; browsers send fewer."""
_BYTES_MAX = 4_096
"""Of name, value and attributes; browsers throw longer ones away."""
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]*")
_PATH = re.compile(r"/[!-:<-~]*")
_HOST = re.compile(r"(?:[a-z0-9_-]+\.)+[a-z][a-z0-9-]*")
"""A name of DNS, whose last part is no number; what a request calls a host may be much else."""
_HOST_CHARACTERS_MAX = 253
_HOSTS_KNOWN = 4_096


def read(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """By name; of those that come twice the first, which is that of the longer path. What is
    no cookie is passed over, and quotation marks around a value are none of it.
    """
    found: dict[str, str] = {}
    for pair in headers.get(b"cookie", b"").decode("latin-1").split(";", COOKIES_MAX)[:COOKIES_MAX]:
        name, says, value = pair.partition("=")
        name, value = name.strip(" \t"), value.strip(" \t")
        if says and _NAME.fullmatch(name):
            if len(value) > 1 and value[0] == value[-1] == '"':
                value = value[1:-1]
            found.setdefault(name, value)
    return found


def spelled(
    received: Received,
    name: str,
    value: str,
    *,
    seconds: int | None = None,
    path: str = "/",
    whole_site: bool = False,
    http_only: bool = True,
    same_site: SameSite = "Lax",
) -> tuple[bytes, bytes]:
    """The line of the answer to this request that sets a cookie; `Secure` if it came by TLS.

    `seconds`: how long it is kept, at most `SECONDS_MAX`; 0 has it forgotten, None has it last as
    long as the browser runs. `whole_site`: for all hosts of the registrable domain, where there is
    one, instead of this host alone. Raise `ValueError` for what no cookie can say.
    """
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value) or not _PATH.fullmatch(path):
        raise ValueError(f"{name}: neither a name, nor a value or a path, of a cookie is any text")
    if same_site == "None" and not received.secure:
        raise ValueError(f"{name}: browsers take SameSite=None by TLS alone")
    parts = [f"{name}={value}", f"Path={path}"]
    if seconds is not None:
        parts.append(f"Max-Age={min(max(seconds, 0), SECONDS_MAX)}")
    if whole_site and (domain := registrable(received.host)):
        parts.append(f"Domain={domain}")
    if received.secure:
        parts.append("Secure")
    if http_only:
        parts.append("HttpOnly")
    line = "; ".join([*parts, f"SameSite={same_site}"]).encode()
    if len(line) > _BYTES_MAX:
        raise ValueError(f"{name}: a cookie has at most {_BYTES_MAX} bytes")
    return b"set-cookie", line


def registrable(host: str) -> str:
    """The domain that whoever has the host has registered: `shop.co.uk` of `www.shop.co.uk`.

    Nothing of an address, of a name without dots, and of what is a public suffix itself.
    """
    is_name = len(host) <= _HOST_CHARACTERS_MAX and _HOST.fullmatch(host)
    return _known(host) if is_name else ""


@lru_cache(maxsize=_HOSTS_KNOWN)
def _known(host: str) -> str:
    return _registered()(host) or ""


@cache
def _registered() -> Callable[[str], str | None]:
    """The list takes 50 ms and 5 MB, which only those pay who ask."""
    from publicsuffixlist import PublicSuffixList  # noqa: PLC0415 - see above

    find: Callable[[str], str | None] = PublicSuffixList().privatesuffix
    return find
