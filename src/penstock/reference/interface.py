"""What clients see: operations and errors."""

import inspect
from collections.abc import Iterator, Sequence
from typing import Protocol, cast

from penstock.core import errors
from penstock.core.clock import SystemClock
from penstock.core.health import Health
from penstock.core.lookout import Lookout
from penstock.core.manifest import Ingest, Manifest, Route
from penstock.core.platform import Platform
from penstock.reference.markdown import page, table


def http_page(manifests: Sequence[Manifest]) -> str:
    parts = [
        """
        A path parameter is percent-decoded and never empty.
        A body may be coded once, with `Content-Encoding: gzip`, `deflate`, `br` or `zstd`; its
        largest size is meant as it is sent and as it is once inflated.
        An answer that is an error has the body `{"error": CODE, "message": TEXT}`; see
        [errors](errors.md).
        An `X-Request-Id` that comes with a request goes back with its answer.
        """,
        "## Sending again",
        """
        What stores events takes an `Idempotency-Key` of 1 to 64 visible ASCII characters, which
        stands for this request from when its events are stored, for
        [`idempotency_hours`](settings.md).
        The same operation, path, query and body under it is a repeat: it stores nothing, and gets
        the status and body that were answered first, with `Idempotent-Replayed: true`.
        Where a body counts events, that of a repeat has `"duplicate": N` besides: so many were
        stored before.
        Anything else under it is answered 422 `key_reused`, and nothing of it is stored.
        Bodies are compared byte for byte, without their `Content-Encoding`; headers are not.
        A request that was refused claims no key.
        Operations that store into the same topic share their keys.
        With a log on Kafka a key is known to the edge that took it, on its own disk: another edge
        takes whatever comes under it for new, so a balancer has to send each key to the same one.
        """,
    ]
    for manifest in manifests:
        offers: list[Ingest | Route] = [*manifest.ingest, *manifest.routes]
        rows = [_operation(offer) for offer in offers]
        parts += [f"## {manifest.name}", manifest.summary, table(_HTTP_HEAD, rows)]
    parts += ["## Operations", table(_HTTP_HEAD, _health_operations())]
    return page("HTTP", parts)


_HTTP_HEAD = ("method", "path", "operation", "largest body", "what it does")


def _operation(offer: Ingest | Route) -> tuple[str, ...]:
    size = f"{offer.body_bytes_max:,} bytes"
    return (f"`{offer.method}`", f"`{offer.path}`", f"`{offer.operation}`", size, offer.summary)


class _Offered(Protocol):
    @property
    def operation(self) -> str: ...

    @property
    def body_bytes_max(self) -> int: ...

    @property
    def answer(self) -> object: ...


class _Recorder:
    """Stands in for a platform, to be offered what a platform is offered."""

    def __init__(self) -> None:
        self.edge = self
        self.clock = SystemClock()
        self.lookouts: list[Lookout[object]] = []
        self.added: list[tuple[str, str, _Offered]] = []

    def add(self, method: str, path: str, endpoint: _Offered) -> None:
        self.added.append((method, path, endpoint))


def _health_operations() -> list[tuple[str, ...]]:
    recorder = _Recorder()
    Health(cast("Platform", recorder)).offer()
    return [
        (
            f"`{method}`",
            f"`{path}`",
            f"`{endpoint.operation}`",
            f"{endpoint.body_bytes_max:,} bytes",
            _summary(endpoint.answer),
        )
        for method, path, endpoint in recorder.added
    ]


def _summary(described: object) -> str:
    return " ".join((inspect.getdoc(described) or "").split("\n\n")[0].split())


def errors_page(manifests: Sequence[Manifest]) -> str:
    classes = sorted(_error_classes(), key=lambda kind: (kind.status, kind.default_code))
    statuses = {kind.default_code: kind.status for kind in classes}
    parts = [
        """
        After any error nothing of the request was stored.
        A 4xx says that the request has to change; only 408 and 5xx are worth sending again.
        A 503 to an event says in `Retry-After` when.
        """,
        "## Core",
        table(
            ("status", "code", "meaning"),
            [(str(kind.status), f"`{kind.default_code}`", _summary(kind)) for kind in classes],
        ),
    ]
    for manifest in manifests:
        rows = [
            (str(statuses.get(code, errors.Rejected.status)), f"`{code}`", meaning)
            for code, meaning in manifest.errors.items()
        ]
        parts += [f"## {manifest.name}", table(("status", "code", "meaning"), rows)]
    return page("Errors", parts)


def _error_classes() -> Iterator[type[errors.PenstockError]]:
    """Those a client can be answered with."""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.PenstockError):
            inside = kind.status == errors.PenstockError.status
            if kind is errors.PenstockError or not inside:
                yield kind
