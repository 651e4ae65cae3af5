"""A queue in which nobody waits for what others ask for without end."""

from heapq import heappop, heappush
from itertools import count
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")

_NEWCOMERS_SHARE = 0.1
"""How much one newcomer moves what is expected of the next."""


class Client(Protocol):
    peer: str
    served_until: float
    cost: float
    """Of what it asked for last; both are 0 at first, and the queue's own."""


class FairQueue(Generic[T]):
    """Weighted fair queueing (Demers, Keshav and Shenker, 1989) of clients that wait once each.

    Who takes less than their share waits for little more than what is in hand. Costs are known
    afterwards only: a client is expected to ask for as much as the last time, and one that was
    never seen for as much as those did of late. What was not taken while there was nothing to do is
    not saved up.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, float, Client, T]] = []
        """By the time at which each would be done if all were served at once, each a bit."""
        self._arrived = count()
        self._now = 0.0
        """That time: what each of those who were always there has had, in costs."""
        self._start = 0.0
        self._newcomers = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, client: Client, item: T) -> None:
        start = max(self._now, client.served_until)
        end = start + (client.cost or self._newcomers)
        heappush(self._waiting, (end, next(self._arrived), start, client, item))

    def take(self) -> tuple[Client, T]:
        """Raise `IndexError` when nobody waits."""
        _, _, self._start, client, item = heappop(self._waiting)
        return client, item

    def charge(self, client: Client, cost: float) -> None:
        """For what was taken last."""
        if not client.cost:
            self._newcomers += (cost - self._newcomers) * _NEWCOMERS_SHARE
        client.cost = cost
        client.served_until = self._start + cost
        self._now += cost / (len(self._waiting) + 1)
