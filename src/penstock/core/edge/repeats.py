"""Requests under an idempotency key: which of them are the same, and what a repeat is told.

What is compared is what whoever sends again certainly sends again: the operation, what its path and
query say, and the bytes of the body without their coding. Headers, chunks and the address may well
differ, and an event that was made of the same bytes may be spelt otherwise by another version.
"""

import zlib
from contextlib import suppress
from hashlib import blake2b

import msgspec

from penstock.core.edge import NO_CONTENT, Received, Response

REPLAYED = (b"idempotent-replayed", b"true")

_FINGERPRINT_BYTES = 16
_DEFLATED_FROM_BYTES = 512
"""An answer that names a thousand lines is mostly the same words."""
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[int, bytes, tuple[tuple[bytes, bytes], ...]]).decode


def fingerprint(operation: str, received: Received) -> bytes:
    """The same 16 bytes for the same request; no two others will ever share them."""
    hashed = blake2b(digest_size=_FINGERPRINT_BYTES)
    hashed.update(_pack((operation, received.parameters, received.query)))
    hashed.update(received.body)
    return hashed.digest()


def packed(told: Response) -> bytes:
    """What repeats will be told; nothing where every success is told the same."""
    if told is NO_CONTENT:
        return b""
    answer = _pack((told.status, told.body, told.headers))
    return zlib.compress(answer, 1) if len(answer) >= _DEFLATED_FROM_BYTES else answer


def replayed(told: Response, answer: bytes) -> Response:
    """What the request that was stored left for its repeats, marked as such; if it left nothing,
    what this one, which is the same, would leave, and that is `told`.
    """
    if answer:
        with suppress(msgspec.MsgspecError, zlib.error):  # or the disk has damaged it
            told = Response(*_unpack(zlib.decompress(answer) if _is_deflated(answer) else answer))
    return Response(told.status, told.body, (*told.headers, REPLAYED))


def _is_deflated(answer: bytes) -> bool:
    """An array of three begins otherwise."""
    return answer[:1] == b"\x78"
