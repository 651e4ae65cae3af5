"""How many times a record was made of another, where that might go on for ever.

A record from outside carries nothing, and none that is older than generations does. Whatever reads
records without knowing of these reads the event: JSON has a member more, Avro something behind it.
"""

import re

_BITS = 32
_NAMED, _COUNTED = b"\x81", b"\x82"
"""How a map of one begins in MessagePack, and one of two: the second is the generation."""
_OF_MAP = b"\xa0\xce"
_MAP_BYTES = len(_OF_MAP) + _BITS // 8
_OF_OBJECT = re.compile(rb',"\$generation":(\d+)\}$')
_BEHIND, _END = b"\xff\xffg", b"\xff"
"""Avro's last field is the name of a project, which has no such byte."""
_BEHIND_BYTES = len(_BEHIND) + _BITS // 8 + len(_END)


def mark(payload: bytes, generation: int) -> bytes:
    """A record that names its project, and its generation from now on."""
    count = generation.to_bytes(_BITS // 8)
    match payload[:1]:
        case b"{":
            return b'%b,"$generation":%d}' % (payload[:-1], generation)
        case b"\x00":
            return b"%b%b%b%b" % (payload, _BEHIND, count, _END)
    return b"%b%b%b%b" % (_COUNTED, payload[1:], _OF_MAP, count)


def generation(payload: bytes) -> int:
    """0: it came from outside."""
    match payload[:1]:
        case b"{":
            found = _OF_OBJECT.search(payload)
            return int(found[1]) if found else 0
        case b"\x00":
            return int.from_bytes(payload[-5:-1]) if behind(payload) else 0
        case b"\x82" if payload[-_MAP_BYTES:][: len(_OF_MAP)] == _OF_MAP:
            return int.from_bytes(payload[-4:])
    return 0


def named(payload: bytes) -> bytes:
    """Of MessagePack that has a generation: what it is without."""
    return _NAMED + payload[1:-_MAP_BYTES]


def behind(payload: bytes) -> int:
    """Of Avro: how many bytes follow the record."""
    marked = payload[-_BEHIND_BYTES:]
    return _BEHIND_BYTES if marked.startswith(_BEHIND) and marked.endswith(_END) else 0
