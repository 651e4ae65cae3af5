"""Who may ask an operation: nobody, anyone, or who has a key."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Literal

from penstock.core.edge import ANYBODY, Principal
from penstock.core.errors import Forbidden, Misconfigured, Unauthorized

_KEY_BYTES_MAX = 512
"""So long is one that is looked at; nobody is given such a long one."""
_LINE = re.compile(r"(?P<name>[\w.-]{1,64})=sha256:(?P<digest>[0-9a-f]{64})", re.ASCII)
KEY_HEADERS = ("Authorization", "X-Api-Key")
_BEARER = b"bearer "
_OWN = b"x-api-key"


@dataclass(frozen=True)
class Keys:
    """Who has one of the keys of a setting."""

    of: Callable[[Any], str]
    """From the application's settings: `name=sha256:digest`s with commas. The name is who asks; the
    digest of a key opens nothing, so whoever reads the settings cannot ask."""


Access = Literal["anyone", "nobody"] | Keys

Admitting = Callable[[Mapping[bytes, bytes]], Principal]
"""From the headers of a request to who asks. Raise `Unauthorized` or `Forbidden`."""


def admitting(access: Access, settings: Any, operation: str) -> Admitting | None:
    """None where anyone may ask. Raise `Misconfigured` for keys that are none."""
    if access == "anyone":
        return None
    return _nobody if access == "nobody" else _Known(access.of(settings), operation).admit


def _nobody(headers: Mapping[bytes, bytes]) -> Principal:
    del headers
    raise Forbidden("nobody may ask this")


class _Known:
    def __init__(self, setting: str, operation: str) -> None:
        self._keys: dict[bytes, Principal] = {}
        for word in filter(None, map(str.strip, setting.split(","))):
            found = _LINE.fullmatch(word)
            if found is None:
                raise Misconfigured(
                    f"of the keys of {operation} one is none; write name=sha256:digest, where "
                    '`printf %s "$KEY" | sha256sum` says the digest of a random key'
                )
            self._keys[bytes.fromhex(found["digest"])] = Principal(found["name"])

    def admit(self, headers: Mapping[bytes, bytes]) -> Principal:
        given = _given(headers)
        if not given:
            raise Unauthorized("ask with `Authorization: Bearer` and a key")
        hashed = sha256(given).digest()
        who = ANYBODY
        for known, principal in self._keys.items():  # all of them, however early one is right
            if compare_digest(known, hashed):
                who = principal
        if who is ANYBODY:
            raise Unauthorized("nobody has this key")
        return who


def _given(headers: Mapping[bytes, bytes]) -> bytes:
    """The key, or nothing where none is given that could be one."""
    said = headers.get(b"authorization", b"")
    key = said[len(_BEARER) :].strip() if said[: len(_BEARER)].lower() == _BEARER else b""
    key = key or headers.get(_OWN, b"")
    return key if len(key) <= _KEY_BYTES_MAX else b""
