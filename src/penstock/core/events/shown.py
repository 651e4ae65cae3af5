"""Events and states as people read them."""

import base64
from typing import Any

import msgspec


def shown(struct: msgspec.Struct) -> dict[str, Any]:
    """By the names of its fields; arrays tell nobody what they are. Bytes are text where they are
    text, as keys mostly are, and base64 otherwise.
    """
    told = msgspec.structs.asdict(struct)
    kept: dict[str, Any] = msgspec.to_builtins(told, builtin_types=(bytes,), enc_hook=repr)
    return {name: _readable(value) for name, value in kept.items()}


def _readable(value: Any) -> Any:
    if isinstance(value, bytes):
        text = value.decode(errors="replace")
        return text if text.isprintable() and text.encode() == value else value
    if isinstance(value, dict):
        return {_name(key): _readable(of) for key, of in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_readable(of) for of in value]
    return value


def _name(key: Any) -> Any:
    found = _readable(key)
    return base64.b64encode(found).decode() if isinstance(found, bytes) else found
