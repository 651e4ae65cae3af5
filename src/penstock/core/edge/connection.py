"""A connection of HTTP/1.1: requests in, in their order; answers out, in the same.

One request is in hand at a time. What arrives behind it waits as bytes, few of them, and is not
looked at before the answer has left. What a client sent at once is done a request at a turn, so
that it cannot keep the loop from the others.

Clients repeat themselves. A head that was parsed once, byte for byte, need not be parsed again:
when what arrives is exactly such a head and the body that it announces, it is taken as it is.

The hot path sets no timers. Once a second a sweep asks every connection what it waits for, and
gives up on those that have waited for the same thing too long.
"""

import asyncio
import fcntl
import termios
from collections.abc import Callable
from time import perf_counter
from typing import Any, Literal

from penstock.core.edge import grammar
from penstock.core.edge.bodies import Body
from penstock.core.edge.connections import READ_BYTES
from penstock.core.edge.dispatcher import Dispatcher
from penstock.core.edge.exchange import CLIENT_GONE, DRAIN_BYTES_MAX, NOTHING, Exchange
from penstock.core.edge.grammar import END
from penstock.core.edge.wire import CONTINUE, render
from penstock.core.errors import (
    HeadersTooLarge,
    Overloaded,
    PenstockError,
    Rejected,
    TimedOut,
    TooLarge,
)

_END_BYTES = len(END)
_AHEAD_BYTES = READ_BYTES // 4
"""While so much waits for its turn, no more is read: of a thousand clients it is all there is."""
_READ_SECONDS = 0.00005
"""What a read of so many bytes costs the loop, all in all."""
Wait = Literal["request", "head", "body", "drain", "answer", "reader", "end"]


class Connection(Exchange, asyncio.BufferedProtocol):
    __slots__ = (
        "_arrived", "_discarded", "_encrypted", "_eof", "_find_head", "_heads", "_held", "_paused",
        "_queued", "_scanned", "_seen", "_stuck",
    )  # fmt: skip

    def __init__(self, edge: Dispatcher, arrived: Callable[[], None] | None = None) -> None:
        """`arrived` gives up the place that was kept for it so far."""
        super().__init__(edge)
        self._arrived = arrived
        self._heads, self._find_head = edge.heads, edge.heads.find
        self._scanned = 0
        """Bytes of it in which no head ends."""
        self._held = 0
        self._discarded = 0
        self._queued = False
        """Whether a turn is to come."""
        self._paused = False
        self._stuck = False
        """The client does not read. Until it does, nothing more is done for it."""
        self._eof = False
        """The client sends nothing more. It may still read."""
        self._seen: tuple[Wait, int] = ("request", 0)

    # -- the transport's side -------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        address = transport.get_extra_info("peername")
        self.peer = str(address[0]) if address else ""
        self._encrypted = transport.get_extra_info("sslcontext") is not None
        self.idle_since = perf_counter()
        if self._arrived is not None:
            self._arrived()
            self._arrived = None
        self._heads = self._edge.heads_of(self.peer)
        self._find_head = self._heads.find
        if not self._connections.enter(self, counts=not self._heads.trusted):
            self.break_off(Overloaded("there are too many connections; try again in a second"))
            transport.close()

    def get_buffer(self, sizehint: int) -> bytearray:
        del sizehint
        return self._connections.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(self._connections.view[:nbytes].tobytes())

    def data_received(self, data: bytes) -> None:
        if self._at == "request" and not self._rest and not self._stuck:
            end = data.find(END) + _END_BYTES
            head = self._find_head(data[:end])
            if head is not None and len(data) - end == head.length:
                now, turn = perf_counter(), self._turn
                if now < turn.until or turn.has_time():
                    self._began = now
                    self.requests += 1
                    self._head = head
                    self._decide(data[end:])
                    return
        if self._at == "end":
            self._discard(len(data))
            return
        self._rest += data
        waits = self._at == "answer" or self._stuck or self._queued
        if not waits and self._turn.has_time():
            self.take_turn()
            return
        self._hold()
        if not waits:
            self._queue()
        self._read_on()

    def eof_received(self) -> bool:
        """Whether the way back stays open. TLS has none without the way in."""
        self._eof = self._last = True
        if self._at == "end" or (self._at == "request" and not self._rest):
            return False
        if self._at != "answer":
            self._queue()  # what has arrived may be done, or finds that it has no end
        return not self._encrypted

    def pause_writing(self) -> None:
        self._stuck = True

    def resume_writing(self) -> None:
        self._stuck = False
        if self._at != "answer":
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._at == "body":
            self._head.timings.observe(CLIENT_GONE, perf_counter() - self._began)
            self._at = "end"
        self._forget()
        self._connections.leave(self)

    # -- arriving -------------------------------------------------------------------------------

    def take_turn(self) -> None:
        """Go on with what has arrived: one request at most, and a bounded piece of its body."""
        self._queued = False
        if self.transport.is_closing():
            return
        if self._at == "end":
            self._read_on()
        if self._at == "end" or self._stuck:
            return
        try:
            if self._at == "request" and self._rest:
                self._read_head()
            if self._at in ("body", "drain"):
                self._read_body()
        except PenstockError as error:
            self.break_off(error)
        except BaseException as defect:  # noqa: BLE001 - a defect of ours is answered as such
            self.break_off(PenstockError(), defect)
        self._hold()
        self._read_on()

    def _read_head(self) -> None:
        rest, bytes_max = self._rest, self._edge.settings.head_bytes_max
        grammar.skip_empty_lines(rest)
        end = rest.find(END, self._scanned) + _END_BYTES
        if end >= _END_BYTES:
            spelling = bytes(rest[:end])
            del rest[:end]
            self._scanned = 0
            self._begin(spelling)
        elif len(rest) > bytes_max:
            raise HeadersTooLarge
        elif rest:
            grammar.check_start(rest, self._scanned)
            self._scanned = max(0, len(rest) - _END_BYTES + 1)
            if self._eof:
                raise Rejected("the request ends within its head")

    def _begin(self, spelling: bytes) -> None:
        edge, settings = self._edge, self._edge.settings
        self._began = perf_counter()
        self.requests += 1
        head = self._find_head(spelling)
        if head is None:
            try:
                if len(spelling) > settings.head_bytes_max:
                    raise HeadersTooLarge
                head = edge.head(grammar.parse(spelling, settings.head_fields_max), self._heads)
            except PenstockError as error:
                self.break_off(error, body=not spelling.startswith(b"HEAD "))
                return
            if head.refusal is None:
                self._heads.learn(spelling, head)
        self._head = head
        self._at = "body"
        keeps = head.refusal is None and head.endpoint.reads_body
        self._body = Body(head.length, settings.head_bytes_max, keeps=keeps)
        if head.refusal is not None:
            # Behind what asks for a tunnel anything may follow.
            self._refuse(head.refusal, keep_alive=head.method != "CONNECT")
        elif self._lets_in() and head.expects and not self._rest:
            self.transport.write(CONTINUE)

    def _read_body(self) -> None:
        body = self._body
        more = body.take(self._rest)
        if self._at == "body":
            try:
                self._head.endpoint.check_size(body.size)
            except TooLarge as error:
                self._refuse(error)
                return
        if not body.complete:
            if more:
                self._queue()
            elif self._eof:
                raise Rejected("the request ends within its body")
        elif self._at == "body":
            self._body = NOTHING
            self._decide(bytes(body.kept or b""))
        else:
            self._at = "request"
            if self._is_last():
                self._end(unread=False)
            self._go_on()

    def _discard(self, size: int) -> None:
        """Of a client that is still sending, one piece at a turn."""
        self._discarded += size
        if self._discarded > DRAIN_BYTES_MAX:
            self.transport.close()
        elif size == READ_BYTES:
            self._pause()
            self._queue()

    def _queue(self) -> None:
        if not self._queued:
            self._queued = True
            self._turn.later(self.take_turn)

    def _hold(self) -> None:
        """Tell the others what is held, which may take it away."""
        before = self._held
        self._held = now = len(self._rest) + len(self._body.kept or b"") + self._judging
        if now != before:
            self._connections.hold(self, before, now)

    def _forget(self) -> None:
        self._rest = bytearray()
        self._body.drop()
        self._scanned = 0
        self._hold()

    # -- going on -------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """With the next request, if any of it is there, and with reading."""
        if self._rest and self._at != "end":
            self._queue()
        self._read_on()

    def _read_on(self) -> None:
        """Or not, while enough waits for what is under way."""
        busy = self._queued or self._stuck or self._at == "answer"
        if busy and len(self._rest) >= _AHEAD_BYTES:
            self._pause()
        elif self._paused:
            self._paused = False
            self._turn.charge(_READ_SECONDS)
            self.transport.resume_reading()

    def _pause(self) -> None:
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    # -- ending ---------------------------------------------------------------------------------

    def break_off(
        self,
        error: PenstockError,
        cause: BaseException | None = None,
        *,
        body: bool = True,
    ) -> None:
        """Understand nothing more: answer what came before, then say why, then close."""
        if self.transport.is_closing():
            return
        if self._at == "answer":
            self._last_word, self._last = error, True
            self._forget()
        elif self._at == "body":
            self._refuse(error, cause, keep_alive=False)
        elif self._at == "request":
            self._edge.unmatched.observe(error.status, 0)
            response = self._edge.refusal(("", "", b""), error, cause)
            refusal = render(response, self._connections.date, keep_alive=False, body=body)
            self.transport.write(refusal)
            self._end(unread=True)
        else:
            self._end(unread=True)

    def _end(self, *, unread: bool) -> None:
        """Close our half, and read on for a while: a client that is still sending would else lose
        the answer with the connection. TLS has no halves, and a client that has sent everything
        waits for the end.
        """
        self._at = "end"
        self._forget()
        if self._eof or (self._encrypted and not unread):
            self.transport.close()
            return
        if not self._encrypted:
            self.transport.write_eof()
        self._read_on()

    def last_call(self) -> None:
        self._last = True

    def shutdown(self) -> None:
        """A graceful stop: answer what has begun to arrive, and close."""
        self._last = True
        if self._is_last():
            self.transport.close()

    def hang_up(self) -> None:
        ended = self._at == "end" or self.transport.is_closing()
        if ended and not self.transport.get_write_buffer_size():
            self.transport.abort()

    def abort(self) -> None:
        self.transport.abort()

    def evict(self) -> None:
        """Its place is needed, or what it holds."""
        if self._at == "end" or self._stuck:
            self.transport.abort()
        elif self._at == "request" and not self._rest:
            self.transport.close()
        else:
            self.break_off(Overloaded("more arrives than there is room for; try again"))
        if self.transport.is_closing() and not self.transport.get_write_buffer_size():
            self._connections.leave(self)  # now, and not when the loop has come to it

    # -- waiting --------------------------------------------------------------------------------

    @property
    def works(self) -> bool:
        """Whether it waits for us, and not for its client."""
        return self._waits_for() == "answer"

    def has_sent(self) -> bool:
        """Whether a request has arrived, or its beginning, that was not read yet."""
        if self._at != "request" or self.transport.is_closing():
            return False
        waiting = bytearray(4)
        fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.FIONREAD, waiting)
        return any(waiting)

    def sweep(self, now: float) -> bool:
        """Give up if the same was waited for too long. Whether anything was asked since the last
        sweep. `now` is in seconds of `perf_counter`.
        """
        seen = (self._waits_for(), self.requests)
        active = seen[1] != self._seen[1]
        if seen != self._seen:
            self._seen, self.idle_since = seen, now
        elif now - self.idle_since >= self._patience(seen[0]):
            self._give_up(seen[0])
        return active

    def _waits_for(self) -> Wait:
        if self._stuck or self.transport.is_closing():
            return "reader"
        if self._queued:
            return "answer"
        return "head" if self._at == "request" and self._rest else self._at

    def _patience(self, wait: Wait) -> float:
        settings = self._edge.settings
        if wait == "request":
            return settings.keep_alive_seconds
        if wait == "head":
            return settings.head_seconds_max
        if wait == "reader":
            return settings.send_seconds_max
        # An operation bounds its own time.
        return float("inf") if wait == "answer" else settings.body_seconds_max

    def _give_up(self, wait: Wait) -> None:
        if wait == "reader":
            self.transport.abort()
        elif wait in ("head", "body"):
            self.break_off(TimedOut())
        else:
            self.transport.close()
