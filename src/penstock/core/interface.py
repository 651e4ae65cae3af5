"""What clients are told of an operation, declared beside it and nowhere else.

The document at `/openapi.json`, the page that shows it and docs/reference are made of it, and a
test asks every example of a running server.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta

JSON = "application/json"
HostClass = Literal["", "console", "links"]
"""`console`: where people look and edit. `links`: where anything may be a link."""
HOUR = "2026-03-01T14"
"""Of every time in an example. It stands for the hour in which the example is tried, which nobody
refuses as too late, nor has forgotten.
"""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    name: str
    place: Literal["query", "path", "header"] = "query"
    shape: Any
    """A type with its bounds, as msgspec reads it; a list may be given several times."""
    meaning: str
    required: bool = False
    example: tuple[str, ...] = ()
    """As it is meant, not percent-encoded; without one the operation's example has none, or
    what its shape says where it has to be there.
    """


@dataclass(frozen=True, kw_only=True)
class Body:
    shape: Any
    """Of the body, or of each of its lines."""
    lines: bool = False
    media: tuple[str, ...] = (JSON,)
    required: bool = True
    meaning: str
    example: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int = 200
    meaning: str
    shape: Any = None
    """None where it has no body."""
    media: str = JSON
    example: bytes = b""
    """What the operation's example is answered, where that is the same every time."""


@dataclass(frozen=True, kw_only=True)
class Interface:
    parameters: tuple[Parameter, ...] = ()
    takes: Body | None = None
    answers: tuple[Answer, ...]
    """The example's first."""
    errors: tuple[str, ...] = ()
    """Codes, beside those that every operation of its kind may answer."""


class Offer(Protocol):
    """An operation, as far as clients are concerned."""

    @property
    def operation(self) -> str: ...
    @property
    def methods(self) -> tuple[str, ...]: ...
    @property
    def paths(self) -> tuple[str, ...]: ...
    @property
    def slash(self) -> bool: ...
    @property
    def hosts(self) -> HostClass: ...
    @property
    def summary(self) -> str: ...
    @property
    def body_bytes_max(self) -> int: ...
    @property
    def interface(self) -> Interface: ...


@dataclass(frozen=True, kw_only=True)
class Asked:
    """An operation of the server itself, which is only read."""

    operation: str
    methods: tuple[str, ...] = ("GET",)
    paths: tuple[str, ...]
    slash: bool = False
    hosts: HostClass = ""
    summary: str
    body_bytes_max: int = 1_024
    interface: Interface


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True):
    """What every error is answered with."""

    error: Annotated[str, Meta(description="The code, for programs.")]
    message: Annotated[
        str, Meta(description="What is wrong and, where it is not plain, what to do, for people.")
    ]
    field: Annotated[
        str, Meta(description="The field or parameter that is wrong, where it is one of them.")
    ] = ""
