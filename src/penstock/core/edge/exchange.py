"""The request in hand: judged, made durable, answered."""

import asyncio
from abc import ABC, abstractmethod
from functools import partial
from time import perf_counter
from typing import Literal

from penstock.core.edge import NO_CONTENT, Asking, Received, Reply, Response
from penstock.core.edge.bodies import Body
from penstock.core.edge.dispatcher import Dispatcher, Outcome
from penstock.core.edge.endpoints import AnswerEndpoint
from penstock.core.edge.gate import Admitted
from penstock.core.edge.heads import Head
from penstock.core.edge.nearby import Replay, Settle
from penstock.core.edge.repeats import REPLAYED
from penstock.core.edge.wire import render, status_of
from penstock.core.errors import Overloaded, PenstockError

CLIENT_GONE = 499
DRAIN_BYTES_MAX = 8_388_608
"""How much of a body is read on after its request was refused, so that the answer is read too."""
_DEAR_BYTES, _DEAR_LINES, _CHEAP_BYTES = 32_768, 128, 256
"""Bodies of so many bytes or lines, and all that are coded, are judged off the loop: a line that is
refused costs 5 microseconds, however short it is. The shortest are not counted through.
"""
_FIND_SECONDS = 0.0001
_FIND_BYTE_SECONDS = 0.0000001
"""What it costs the loop to find an answer: a task, whose time comes after those that began it, and
which looks through what was asked.
"""

At = Literal["request", "body", "drain", "answer", "end"]
"""Where a connection stands: before a request or in its head; in its body; in the body of one that
is refused; before the answer; behind the last one, while the client may still send.
"""

NOTHING = Body(0, 0, keeps=False)
"""The body where none is under way."""


class Exchange(ABC):
    """A connection has one at a time, so it is one."""

    __slots__ = (
        "_admitted", "_at", "_began", "_body", "_connections", "_edge", "_head", "_judging",
        "_last", "_last_word", "_response", "_rest", "_turn", "cost", "idle_since", "peer",
        "requests", "served_until", "transport",
    )  # fmt: skip

    transport: asyncio.Transport
    _head: Head
    _began: float
    _response: Response

    def __init__(self, edge: Dispatcher) -> None:
        self._edge = edge
        self._connections = edge.connections
        self._turn = edge.turn
        self._at: At = "request"
        self._rest = bytearray()
        """What has arrived and was not looked at."""
        self._body = NOTHING
        self._admitted: Admitted | None = None
        """Who is, as long as their body is under way."""
        self._judging = 0
        """Bytes of a body that is judged elsewhere, and one for the judging."""
        self._last = False
        """Nothing is answered but what has begun to arrive."""
        self._last_word: PenstockError | None = None
        """What is said after the answer in hand, and nothing after it."""
        self.served_until = self.cost = 0.0
        self.peer = ""
        self.requests = 0
        self.idle_since = perf_counter()
        """Since when it waits for the same thing: exact after an answer, else to a sweep."""

    @property
    def is_judged_elsewhere(self) -> bool:
        """Whether the request in hand is on another thread just now."""
        return self._judging > 0

    @abstractmethod
    def _hold(self) -> None:
        """Tell the others what is held, which may take it away."""

    @abstractmethod
    def _go_on(self) -> None:
        """With the next request, if any of it is there, and with reading."""

    @abstractmethod
    def break_off(self, error: PenstockError) -> None:
        """Understand nothing more: answer what came before, then say why, then close."""

    @abstractmethod
    def _end(self, *, unread: bool) -> None:
        """Close. `unread`: more is known to be on its way."""

    # -- deciding -------------------------------------------------------------------------------

    def _decide(self, body: bytes) -> None:
        """The request is complete; answer once what it leads to is durable."""
        self._at = "answer"
        edge, head, admitted = self._edge, self._head, None
        edge.in_flight += 1
        if edge.in_flight > edge.in_flight_max and head.endpoint.sheds:
            self._refuse(Overloaded())
        elif head.gate is not None and (admitted := self._enter()) is None:
            pass  # it was refused
        elif (
            head.coding
            or (len(body) > _CHEAP_BYTES and _is_dear(body))
            or ((asks := head.endpoint.asks) is not None and asks.away)
        ):
            self._judging = len(body) + 1
            edge.judge_elsewhere(head, self, body, self._judged, admitted)
        else:
            try:
                judged = edge.judge(head, self.peer, body, admitted)
            except PenstockError as error:
                self._refuse(error)
            except BaseException as defect:  # noqa: BLE001 - a defect of ours is answered as such
                self._refuse(PenstockError(), defect)
            else:
                self._act(judged)

    def _lets_in(self) -> bool:
        """Before the body, which may be long."""
        self._admitted = None
        if self._head.gate is not None:
            self._admitted = self._enter()
        return self._head.gate is None or self._admitted is not None

    def _enter(self) -> Admitted | None:
        """Who is let in, once for a request; None where they are refused, which they are told."""
        admitted, self._admitted = self._admitted, None
        if admitted is None:
            try:
                admitted = self._edge.admit(self._head, self.peer)
            except PenstockError as error:
                self._refuse(error)
            except BaseException as defect:  # noqa: BLE001 - a defect of ours is answered as such
                self._refuse(PenstockError(), defect)
        return admitted

    def _judged(self, outcome: Outcome | BaseException) -> None:
        """It was, elsewhere."""
        self._judging = 0
        self._hold()
        if isinstance(outcome, PenstockError):
            self._refuse(outcome)
        elif isinstance(outcome, BaseException):
            self._refuse(PenstockError(), outcome)
        else:
            self._act(outcome)

    def _act(self, judged: Outcome) -> None:
        if not isinstance(judged, tuple):  # the other way round takes 0.1 µs more
            self._edge.start(self._find(judged))
            asked = len(judged.query) + len(judged.body)
            self._turn.charge(_FIND_SECONDS + asked * _FIND_BYTE_SECONDS)
            return
        # From here on the log accounts for the events.
        endpoint, events = judged
        self._response = events.response
        settle: Settle = self._settle
        replay: Replay = self._answer
        if endpoint.ask is not None and (event := events.first(endpoint.topic)):
            settle = partial(self._settle_asked, endpoint.ask, event)
            replay = partial(self._ask, endpoint.ask, event)
        if endpoint.near is not None:
            settle, replay = endpoint.near.settling(events.parts, settle, replay)
        try:
            waits = self._edge.commit(endpoint, events, settle, replay)
        except PenstockError as error:
            settle(error)
        except BaseException as defect:  # noqa: BLE001 - a defect of ours is answered as such
            if endpoint.near is not None:
                endpoint.near.drop(events.parts)
            self._refuse(PenstockError(), defect, accountable=False)
        else:
            if not waits:
                self._answer(self._response)

    async def _find(self, received: Received) -> None:
        edge, endpoint = self._edge, self._head.endpoint
        try:
            if not isinstance(endpoint, AnswerEndpoint):
                raise TypeError(f"{endpoint.operation} has no answer")
            answer = await endpoint.answer(received)
            if isinstance(answer, Reply):
                act = partial(self._act, (endpoint, edge.replied(endpoint, received, answer)))
            else:
                act = partial(self._answer, answer)
        except PenstockError as error:
            self._refuse(error)
        except BaseException as defect:
            if _is_ended(defect):
                self._forsake()
                raise
            self._refuse(PenstockError(), defect)
        else:  # many may have waited for the same
            self._turn.soon(act)

    def _settle(self, error: PenstockError | None) -> None:
        """What was to be durable is, or why it is not."""
        if error is None:
            self._answer(self._response)
        else:
            self._refuse(error, accountable=False)

    def _settle_asked(self, ask: Asking, event: bytes, error: PenstockError | None) -> None:
        if error is None:
            self._ask(ask, event)
        else:
            self._refuse(error, accountable=False)

    def _ask(self, ask: Asking, event: bytes, replayed: Response | None = None) -> None:
        """Of a repeat too: what was decided on its event is what it is told."""
        self._edge.start(self._asked(ask, event, is_repeat=replayed is not None))

    async def _asked(self, ask: Asking, event: bytes, *, is_repeat: bool) -> None:
        try:
            answer = await ask(event)
            if is_repeat:
                answer = Response(answer.status, answer.body, (*answer.headers, REPLAYED))
        except BaseException as defect:
            if _is_ended(defect):
                self._forsake()
                raise
            self._refuse(PenstockError(), defect, accountable=False)  # the event is stored
        else:
            self._turn.soon(partial(self._answer, answer))

    def _forsake(self) -> None:
        """Nobody is answered."""
        self._edge.in_flight -= 1
        self._head.timings.observe(CLIENT_GONE, perf_counter() - self._began)

    # -- answering ------------------------------------------------------------------------------

    def _refuse(
        self,
        error: PenstockError,
        cause: BaseException | None = None,
        *,
        accountable: bool = True,
        keep_alive: bool = True,
    ) -> None:
        edge, head = self._edge, self._head
        self._admitted = None  # the next request may be anybody else's
        if accountable:
            edge.account(head.endpoint.topic)
        request = (head.method, head.path, head.request_id)
        response = edge.refusal(request, error, cause, head.endpoint.refusal)
        self._answer(response, keep_alive=keep_alive)

    def _answer(self, response: Response, *, keep_alive: bool = True) -> None:
        """Write it, and go on with what waits behind it."""
        head = self._head
        unread = self._at == "body" and not self._body.complete
        if self._at == "answer":
            self._edge.in_flight -= 1
        self.idle_since = now = perf_counter()
        if self.transport.is_closing():
            head.timings.observe(status_of(response), now - self._began)
            self._at = "end"
            return
        self._at = "drain" if unread else "request"
        wanted = self._connections.is_crowded and self._is_wanted()
        plain = response is NO_CONTENT and head.plain
        if plain and not self._rest and not self._last and not wanted:
            head.timings.observe(response.status, now - self._began)
            self.transport.write(self._connections.no_content)
            return
        if unread:
            self._body.drop()
            # Whoever waits for a word before the body may or may not send it now.
            keep_alive = keep_alive and self._body.to_come <= DRAIN_BYTES_MAX and not head.expects
        keeps = keep_alive and head.keep_alive and not wanted and not self._is_last()
        try:
            answer = self._rendered(response, keep_alive=keeps)
        except Exception as defect:  # noqa: BLE001 - what a handler made is no response
            request = (head.method, head.path, head.request_id)
            response = self._edge.refusal(request, PenstockError(), defect)
            answer = self._rendered(response, keep_alive=keeps)
        head.timings.observe(response.status, now - self._began)
        self.transport.write(answer)
        if not keeps:
            self._end(unread=unread or bool(self._rest))
        elif self._last_word is not None:
            self.break_off(self._last_word)
        else:
            self._go_on()

    def _rendered(self, response: Response, *, keep_alive: bool) -> bytes:
        head = self._head
        return render(
            response,
            self._connections.date,
            request_id=head.request_id,
            lines=head.for_page,
            keep_alive=keep_alive,
            old=head.old,
            body=head.method != "HEAD",
        )

    def _is_wanted(self) -> bool:
        """Whether its place is, and nothing stands behind the request in hand."""
        return not self._rest and self._connections.wants_back(self.peer, self.requests)

    def _is_last(self) -> bool:
        """Whether nothing more will be said."""
        between = self._at == "request" and not self._rest
        return self._last and between and self._last_word is None


def _is_ended(defect: BaseException) -> bool:
    """Whether the task itself is, and nobody waits. A handler may raise the same by itself."""
    task = asyncio.current_task()
    ended = isinstance(defect, asyncio.CancelledError) and task is not None and task.cancelling()
    return bool(ended) or isinstance(defect, GeneratorExit)


def _is_dear(body: bytes) -> bool:
    return len(body) >= _DEAR_BYTES or body.count(b"\n") >= _DEAR_LINES
