"""Records as they wait in the spool, each with all that it takes to send the very same later."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import msgspec

from penstock.core.log import Append
from penstock.core.log.kafka.sending import Part


class _Spooled(NamedTuple):
    partition: int
    name: bytes
    at_ms: int
    key: bytes
    payload: bytes


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Spooled).decode


def packed(append: Append, parts: Sequence[Part]) -> Append:
    payloads = [
        _pack((part.partition, name, part.at_ms, key or b"", payload))
        for part in parts
        for name, key, payload in zip(part.ids, part.keys, part.payloads, strict=True)
    ]
    return append._replace(payloads=payloads, keys=())


def unpacked(topic: str, payloads: Sequence[bytes], there: AbstractSet[bytes]) -> list[Part]:
    """By partition, in their order, but for those that are there."""
    parts: list[Part] = []
    last: dict[int, Part] = {}
    for record in payloads:
        partition, name, at_ms, key, payload = _unpack(record)
        if name in there:
            continue
        part = last.get(partition)
        if part is None or part.at_ms != at_ms:
            part = last[partition] = Part(topic, partition, at_ms)
            part.spooled = True
            parts.append(part)
        part.ids.append(name)
        part.keys.append(key or None)
        part.payloads.append(payload)
    return parts
