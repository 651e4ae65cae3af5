"""Before the body: who asks, and whether they ask too often."""

from collections.abc import Mapping
from typing import NamedTuple

from penstock.core.edge import ANYBODY, Principal
from penstock.core.edge.access import Admitting
from penstock.core.edge.limits import Limits
from penstock.core.projects import DEFAULT_PROJECT


class Admitted(NamedTuple):
    """Who was let in, and from where."""

    client: str
    project: str
    who: Principal


class Gate:
    """Of one operation that does not let in everybody, always."""

    def __init__(self, admit: Admitting | None, limits: Limits | None) -> None:
        self._admit = admit
        self._limits = limits

    def admit(self, client: str, headers: Mapping[bytes, bytes]) -> Admitted:
        """On the loop. Raise `Unauthorized`, `Forbidden` or `RateLimited`."""
        who = ANYBODY if self._admit is None else self._admit(headers)
        if self._limits is not None:
            self._limits.take(client, DEFAULT_PROJECT, who)
        return Admitted(client, DEFAULT_PROJECT, who)
