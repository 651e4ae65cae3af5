"""The dispatcher: routing table, limits, the way into the log and the rendering of refusals."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial

import msgspec

from penstock.core import codings
from penstock.core.clock import Clock, careful
from penstock.core.edge import Received, Refusing, Reply, Response, judging, repeats
from penstock.core.edge.committer import Committer, Settle, tally
from penstock.core.edge.connections import Connections
from penstock.core.edge.endpoints import AnswerEndpoint, Endpoint, IngestEndpoint, Target
from penstock.core.edge.fair import Client
from penstock.core.edge.gate import Admitted
from penstock.core.edge.grammar import Parsed
from penstock.core.edge.heads import Head, Heads, Told
from penstock.core.edge.hosts import Hosts, is_host, plain
from penstock.core.edge.judges import Judges
from penstock.core.edge.judging import Judged
from penstock.core.edge.origins import Preflights
from penstock.core.edge.proxies import Proxies
from penstock.core.edge.refusals import Refusals
from penstock.core.edge.routing import Routes
from penstock.core.edge.turn import Turn
from penstock.core.edge.wire import request_id_of
from penstock.core.errors import (
    MethodNotAllowed,
    NotReady,
    Overloaded,
    PenstockError,
    Unimplemented,
)
from penstock.core.ids import Ids
from penstock.core.interface import HostClass
from penstock.core.log import Log
from penstock.core.settings import Settings
from penstock.core.telemetry import Logger, Registry, Samples
from penstock.core.worker import Worker, WorkerDied

_SHOWN_MAX = 64
_METHODS = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
"""Those that are known; whether a path answers them is another question."""


Outcome = Received | tuple[Endpoint, Judged]
"""Of other operations the request as their handler sees it; of an ingest what it leads to."""


class Dispatcher:
    """`attach` it to the running loop before the first request, and `close` it after the last."""

    def __init__(
        self,
        settings: Settings,
        *,
        log: Log | None,
        clock: Clock,
        ids: Ids,
        logger: Logger,
        registry: Registry,
        judge: Worker | None = None,
    ) -> None:
        """`judge` is asked about bodies that are dear to judge; without it a thread does it."""
        self.settings = settings
        self.connections = Connections(settings)
        self.turn = Turn()
        self.heads = Heads(remembers=settings.remember_heads)
        self.relayed = Heads(remembers=settings.remember_heads, trusted=True)
        """Those that came through trusted proxies, whose word about a client is believed."""
        self._secure = bool(settings.tls_certificate)
        self.routes: Routes[Target] = Routes(Hosts(settings.hosts))
        self.unmatched = registry.operation("unmatched")
        self.tasks: set[asyncio.Task[None]] = set()
        """Answers that are being found; a graceful stop waits for them."""
        self._nowhere = Endpoint(operation="unmatched", body_bytes_max=0)
        self.in_flight = 0
        self.in_flight_max = settings.requests_in_flight_max
        self.behind = 0
        """Requests that were answered and whose events are on their way into the log."""
        self.latest_ms = careful(clock).latest_ms
        self.proxies = Proxies(settings.trusted_proxies) or None
        """None where nobody's word is taken, so that asking costs a request nothing."""
        self._preflights = Preflights(self.routes.allowed)
        self._lost: dict[str, int] = {}
        self._log = log
        self._keyed = log is not None and log.keyed
        self._logger = logger
        self._registry = registry
        self._refusals = Refusals(ids, logger, clock)
        self._committer: Committer | None = None
        self._judge = judge
        self._judges: Judges[Outcome] | None = None
        about = AnswerEndpoint(operation="server", body_bytes_max=0, answer=self._about)
        self.add("OPTIONS", "*", about)

    def add(self, method: str, path: str, endpoint: Endpoint, hosts: HostClass = "") -> None:
        """Raise `Misconfigured` for what another operation claims."""
        operation = endpoint.operation
        timings = self._registry.operation(operation)
        self.routes.add(method, path, (endpoint, timings), operation=operation, hosts=hosts)
        pages = endpoint.pages
        if pages is not None and self._preflights.add(method, path, hosts, pages):
            self._let_pages_ask(path, hosts)

    def _let_pages_ask(self, path: str, hosts: HostClass) -> None:
        """Offer to browsers what they ask before they let a page send something."""

        async def preflight(received: Received) -> Response:
            return self._preflights.answer(path, hosts, received)

        answers = AnswerEndpoint(operation="preflight", body_bytes_max=0, answer=preflight)
        self.add("OPTIONS", path, answers, hosts)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.connections.open()
        self.turn.attach(loop)
        self._judges = Judges(lambda: self._judge and self._judge.rest())
        if self._log is not None:
            self._committer = Committer(
                self._log, loop, self.turn, bytes_max=self.settings.queue_bytes_max
            )

    async def _about(self, received: Received) -> Response:
        """`OPTIONS *`: what this server knows at all (RFC 9110, 9.3.7)."""
        del received
        return Response(204, headers=((b"allow", ", ".join(self.routes.methods).encode()),))

    def close(self) -> None:
        """After the last answer."""
        if self._judges is not None:
            self._judges.close()

    @property
    def stored(self) -> int:
        """Events that are durable since the start."""
        return 0 if self._committer is None else self._committer.stored

    def expect(self, clients: int) -> None:
        """So many connections have asked for something of late."""
        if self._committer is not None:
            self._committer.clients = clients

    def sample(self, samples: Samples) -> None:
        samples.gauge("penstock_requests_in_flight", self.in_flight)
        samples.gauge("penstock_connections", len(self.connections.present))
        samples.gauge("penstock_arriving_bytes", self.connections.held)
        for operation, count in self._lost.items():
            samples.counter("penstock_events_lost", count, operation=operation)

    def heads_of(self, peer: str) -> Heads:
        """Whose word is worth as much as the peer's."""
        return self.relayed if self.is_proxy(peer) else self.heads

    def head(self, parsed: Parsed, heads: Heads) -> Head:
        """Where it leads; if nowhere, or no further, its `refusal` says why."""
        told = self._told(parsed, trusted=heads.trusted)
        target: Target = (self._nowhere, self.unmatched)
        parameters: tuple[str, ...] = ()
        refusal: PenstockError | None = None
        try:
            if parsed.method not in _METHODS:
                raise Unimplemented(f"no path knows the method {parsed.method[:_SHOWN_MAX]}")
            if parsed.method == "CONNECT":
                raise MethodNotAllowed(self.routes.methods)
            target, parameters = self.routes.find(parsed.method, parsed.path, told.host)
        except PenstockError as error:
            refusal = _kept(error)
        head = Head(parsed, target, parameters, refusal, told)
        pages = head.endpoint.pages
        if pages is not None:
            pages.take_beacon(parsed.fields)
            head.tell_page(pages.lines(parsed.fields))
        if refusal is None:
            try:
                self._check(head)
            except PenstockError as error:
                head.refusal = _kept(error)
        return head

    def _told(self, parsed: Parsed, *, trusted: bool) -> Told:
        if not trusted:
            return Told(parsed.host, self._secure, b"")
        asked = Proxies.asked(parsed.fields)
        host = plain(asked.host)
        return Told(
            host if is_host(host) else parsed.host,
            asked.scheme == "https" if asked.scheme else self._secure,
            request_id_of(parsed.fields),
        )

    def _check(self, head: Head) -> None:
        """Raise what can be said before the body."""
        coding = head.headers.get(b"content-encoding")
        if coding and head.endpoint.reads_body:
            head.coding = codings.named(coding)
        if head.length > 0:
            head.endpoint.check_size(head.length)

    def admit(self, head: Head, peer: str) -> Admitted:
        """Who asks, where not everybody may. Raise a `PenstockError`."""
        if head.gate is None:
            raise TypeError(f"{head.endpoint.operation} lets everybody in")
        return head.gate.admit(self._client(head, peer), head.headers)

    def _client(self, head: Head, peer: str) -> str:
        return peer if self.proxies is None else self.proxies.client(peer, head.headers)

    def judge(
        self, head: Head, peer: str, body: bytes, admitted: Admitted | None = None
    ) -> Outcome:
        """Of a body without a coding. Raise a `PenstockError`."""
        endpoint = head.endpoint
        if admitted is not None:
            received = self._received(head, peer, body, admitted)
        else:  # the same: of what every request does, a call less
            received = Received(
                head.method,
                head.parameters,
                head.query,
                head.headers,
                body if endpoint.reads_body else b"",
                peer if self.proxies is None else self.proxies.client(peer, head.headers),
                self.latest_ms(),
                head.path,
                head.host,
                head.secure,
            )
        if not isinstance(endpoint, IngestEndpoint):
            if head.request_id:
                msgspec.structs.force_setattr(received, "request_id", head.request_id.decode())
            return received
        reply = endpoint.ingest(received)
        judged = judging.decided(endpoint, received, reply, keyed=self._keyed)
        if endpoint.near is not None:
            endpoint.near.take(judged.parts)
        return endpoint, judged

    def replied(self, endpoint: Endpoint, received: Received, reply: Reply) -> Judged:
        """What a route decided that has looked first."""
        judged = judging.decided(endpoint, received, reply, keyed=self._keyed)
        if endpoint.near is not None:
            endpoint.near.take(judged.parts)
        return judged

    def judge_elsewhere(
        self,
        head: Head,
        client: Client,
        body: bytes,
        done: Callable[[Outcome | BaseException], None],
        admitted: Admitted | None = None,
    ) -> None:
        """The same of any body, off the loop; `done` is called on it."""
        if head.endpoint.asks is not None:
            done = head.endpoint.asks.lend(done)

        def settle(outcome: Outcome | BaseException) -> None:
            if isinstance(outcome, PenstockError):
                outcome = _kept(outcome)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self.loop.call_soon_threadsafe(done, outcome)

        if self._judges is not None:
            work = partial(self._judge_dear, head, client.peer, body, admitted)
            self._judges.judge(client, work, settle)

    def _judge_dear(self, head: Head, peer: str, body: bytes, admitted: Admitted | None) -> Outcome:
        endpoint, worker = head.endpoint, self._judge
        if worker is None or endpoint.asks or not isinstance(endpoint, IngestEndpoint):
            if head.coding:
                body = codings.inflate(head.coding, body, endpoint.body_bytes_max)
            return self.judge(head, peer, body, admitted)
        received = self._received(head, peer, b"", admitted)
        try:
            judged = judging.ask(
                worker.ask, endpoint, received, body, coding=head.coding, keyed=self._keyed
            )
        except WorkerDied:
            raise NotReady("the process that judges such bodies has ended, try again") from None
        if endpoint.near is not None:
            endpoint.near.take(judged.parts)
        return endpoint, judged

    def _received(self, head: Head, peer: str, body: bytes, admitted: Admitted | None) -> Received:
        return Received(
            head.method,
            head.parameters,
            head.query,
            head.headers,
            body if head.endpoint.reads_body else b"",
            self._client(head, peer) if admitted is None else admitted.client,
            self.latest_ms(),
            head.path,
            head.host,
            head.secure,
            *((admitted.project, admitted.who) if admitted is not None else ()),
        )

    def start(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def is_proxy(self, peer: str) -> bool:
        """Whether others come through it."""
        return self.proxies is not None and self.proxies.trusts(peer)

    def commit(
        self,
        endpoint: Endpoint,
        judged: Judged,
        settle: Settle,
        replay: Callable[[Response], None],
    ) -> bool:
        """Hand it to the log; False when there is nothing to wait for.

        `replay` is called instead of `settle` with the answer of a repeat.
        """
        committer, log = self._committer, self._log
        if committer is None or log is None:
            raise NotReady(f"{endpoint.operation} is not served by this process")
        if not judged.parts:
            log.tally(endpoint.topic, rejected=judged.rejected)
            return False
        if endpoint.respond_first is not None:
            self._commit_behind(committer, log, endpoint, judged)
            return False
        repeat = partial(_replay, judged, replay) if judged.idempotency_key else None
        committer.commit(endpoint.topic, judged, settle, repeat)
        return True

    def _commit_behind(
        self, committer: Committer, log: Log, endpoint: Endpoint, judged: Judged
    ) -> None:
        """Start the commit of what is answered first. Raise `NotReady` if it fails closed."""
        failure = log.failure()
        if failure:
            # The log tries again, and forgets the failure, when it writes this down.
            tally(log, endpoint.topic, judged)
        else:
            try:
                settle = partial(self._settle_behind, endpoint, judged)
                committer.commit(endpoint.topic, judged, settle)
                self.behind += 1
            except Overloaded as error:
                failure = str(error)
        if failure and endpoint.respond_first == "fail_closed":
            raise NotReady(failure)
        if failure:
            self._lose(endpoint, judged, failure)

    def _settle_behind(
        self, endpoint: Endpoint, judged: Judged, error: PenstockError | None
    ) -> None:
        self.behind -= 1
        if error is not None:
            self._lose(endpoint, judged, str(error))
        elif endpoint.near is not None:
            endpoint.near.keep(judged.parts)

    def _lose(self, endpoint: Endpoint, judged: Judged, reason: str) -> None:
        operation, events = endpoint.operation, judged.events
        if endpoint.near is not None:
            endpoint.near.drop(judged.parts)
        self._lost[operation] = self._lost.get(operation, 0) + events
        self._logger.error("events.lost", operation=operation, events=events, reason=reason)

    def account(self, topic: str) -> None:
        """A request to a topic was refused before it could become an append."""
        if topic and self._log is not None:
            self._log.tally(topic, rejected=1)

    def refusal(
        self,
        received: tuple[str, str, bytes],
        error: PenstockError,
        cause: BaseException | None = None,
        spell: Refusing | None = None,
    ) -> Response:
        """The error's answer to (method, path, id if it has one), and its one line in the log."""
        return self._refusals.answer(received, error, cause, spell)


def _replay(judged: Judged, replay: Callable[[Response], None], answer: bytes) -> None:
    replay(repeats.replayed(judged.repeated, answer))


def _kept(error: PenstockError) -> PenstockError:
    """Without what leads from it to where it was raised. That is a circle once the error is kept,
    and holds heads and bodies until the collector comes by, who holds the loop then.
    """
    error.__context__ = None
    return error.with_traceback(None)
