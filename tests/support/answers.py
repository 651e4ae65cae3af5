"""An independent reading of what a connection answered: h11, which is strict, parses it."""

import re
from collections.abc import Iterable
from typing import NamedTuple

import h11

VARIES = re.compile(rb"(?im)^(date|x-request-id): [^\r\n]*\r\n")
"""The lines of an answer that differ from one request to its repeat."""


class Answered(NamedTuple):
    status: int
    body: bytes
    closes: bool
    fields: dict[bytes, bytes]
    """By lower-case name; of repeated ones the last."""


def parse(stream: bytes, methods: Iterable[bytes] = ()) -> list[Answered]:
    """All answers of a connection that has ended; `methods` of their requests, POST where unsaid.

    Raise `h11.RemoteProtocolError` where they are no HTTP, and `AssertionError` where something
    follows the answer that closes, or one is not complete.
    """
    asked = iter(methods)
    connection = h11.Connection(h11.CLIENT)
    connection.receive_data(stream)
    found: list[Answered] = []
    while connection.trailing_data[0]:
        assert not found or not found[-1].closes, connection.trailing_data[0]
        if connection.our_state is h11.DONE:
            connection.start_next_cycle()
        method = next(asked, b"POST")
        connection.send(h11.Request(method=method, target="/", headers=[("Host", "tests")]))
        connection.send(h11.EndOfMessage())
        if answer := _answer(connection):
            found.append(answer)
    return found


def _answer(connection: h11.Connection) -> Answered | None:
    """None where the client was told to go on, and did not."""
    status, body, closes, told = 0, b"", False, False
    fields: dict[bytes, bytes] = {}
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA and told and not status and not connection.trailing_data[0]:
            return None
        assert event is not h11.NEED_DATA, "the last answer is not complete"
        told = told or isinstance(event, h11.InformationalResponse)
        if isinstance(event, h11.Response):
            status = event.status_code
            fields = dict(event.headers)
            closes = fields.get(b"connection") == b"close"
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return Answered(status, bytes(body), closes, fields)
