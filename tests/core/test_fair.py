"""Fair queueing: who takes little waits for nobody but what is in hand (reliability 21)."""

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.edge.fair import FairQueue


@dataclass
class Asks:
    """A client that asks for the same again and again."""

    peer: str
    asks: float
    cost: float = 0.0
    served_until: float = 0.0


def serve(queue: FairQueue[Asks], rounds: int) -> list[str]:
    """Who was served, in turn; everyone asks again at once."""
    served = []
    for _ in range(rounds):
        _, asked = queue.take()
        queue.charge(asked, asked.asks)
        queue.put(asked, asked)
        served.append(asked.peer)
    return served


@pytest.mark.parametrize("stay", [True, False], ids=["the same ones", "new ones each time"])
def test_who_asks_for_little_is_next_behind_what_is_in_hand(*, stay: bool) -> None:
    queue: FairQueue[Asks] = FairQueue()
    for n in range(100):
        client = Asks(f"dear-{n}", 170.0)
        queue.put(client, client)
    cheap = Asks("cheap", 3.0)
    queue.put(cheap, cheap)
    asked_at, waited = 0, []
    for turn in range(3_000):
        _, asked = queue.take()
        queue.charge(asked, asked.asks)
        if asked is cheap:
            waited.append(turn - asked_at)
        else:
            asked = asked if stay else Asks(f"new-{turn}", 170.0)
            queue.put(asked, asked)
        if turn % 10 == 9:
            asked_at = turn
            if turn > 1_000:
                queue.put(cheap, cheap)
    assert waited[0] <= 101  # nothing was known of it
    assert len(waited) == 200
    assert max(waited[2:]) <= 2


def test_among_equals_the_first_comes_first() -> None:
    queue: FairQueue[int] = FairQueue()
    for n in range(5):
        queue.put(Asks("same", 1.0), n)
    assert [queue.take()[1] for _ in range(5)] == [0, 1, 2, 3, 4]


def test_what_was_not_taken_while_there_was_nothing_to_do_is_not_saved_up() -> None:
    queue: FairQueue[Asks] = FairQueue()
    late, early = Asks("late", 1.0), Asks("early", 1.0)
    queue.put(early, early)
    serve(queue, 1_000)
    queue.put(late, late)
    assert Counter(serve(queue, 100))["early"] >= 49


@given(st.lists(st.floats(0.1, 100.0), min_size=2, max_size=6))
def test_in_the_long_run_everybody_has_the_same(costs: list[float]) -> None:
    queue: FairQueue[Asks] = FairQueue()
    for n, cost in enumerate(costs):
        client = Asks(str(n), cost)
        queue.put(client, client)
    # So many that the dearest had ten turns.
    rounds = int(sum(10 * max(costs) / cost for cost in costs))
    turns = Counter(serve(queue, min(rounds, 20_000)))
    had = [turns[str(n)] * cost for n, cost in enumerate(costs)]
    assert max(had) - min(had) <= 2 * max(costs)
