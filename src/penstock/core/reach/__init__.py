"""Reach: what jobs and schedules have of the world outside.

Whoever may write a URL may name our own network by it: an address of the machine, of a database, of
the cloud's metadata; a name that means one of these, or means it only from the second look on; a
page that sends us there. So the one way out checks each address itself and connects to what it
checked, goes where it was told and nowhere else, and takes no more than was agreed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from penstock.core.errors import PenstockError


class OutOfBounds(PenstockError):
    """Nothing of ours goes there, or sends that; trying again will not help."""


class Unanswered(PenstockError):
    """No answer came that could be read; it may help to try again."""

    def __init__(self, message: str = "", *, sent: bool = False, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.sent = sent
        """Whether the other side may have heard the request all the same."""


class Answer(NamedTuple):
    """What a server said, whatever it was: a redirect is an answer, and is not followed."""

    status: int
    headers: Mapping[str, str]
    """By names in lower case; values of a repeated one are joined by commas."""
    body: bytes = b""
    """Inflated, if it came compressed."""


class Http(Protocol):
    """For any thread and any event loop."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        seconds: float = 10.0,
        bytes_max: int | None = None,
    ) -> Answer:
        """`seconds` are for all of it, waiting for a turn included; `bytes_max` is of the answer's
        body. Both are bounded by the settings.

        Raise `OutOfBounds` or `Unanswered`.
        """
        ...

    async def check(self, url: str) -> None:
        """Whether it could be asked as things are; for those who save it. Nothing is sent.

        Raise `OutOfBounds`, or `Unanswered` where its name has no address.
        """
        ...


@dataclass(frozen=True)
class Reach:
    http: Http
    settings: Any = None
    """The own settings struct of the application whose job it is; a schedule has those of its
    context.
    """
