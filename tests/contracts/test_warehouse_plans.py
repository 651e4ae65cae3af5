"""Plans of blocks: what they remember, and who may go on from one."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock.core.errors import Moved
from penstock.core.warehouse import Block, Unavailable, Warehouse
from penstock.core.warehouse.clickhouse import ClickHouse
from support.stores import create
from support.warehouses import CLUSTER, SERVED, Place, holder


def a_block(
    first: int, following: int, *, log: str = "a-log", carry: bytes = b"\x00'\xff"
) -> Block:
    return Block(log, first, following, carry)


def test_the_block_planned_last_is_remembered(warehouse: Warehouse) -> None:
    assert warehouse.planned("tests_rows", 0) is None
    planned = None
    for first in range(0, 50, 10):
        block = a_block(first, first + 10)
        warehouse.plan("tests_rows", 0, planned, block)
        planned = block
    warehouse.plan("tests_rows", 1, None, a_block(3, 4))
    assert warehouse.planned("tests_rows", 0) == a_block(40, 50)
    assert warehouse.planned("tests_rows", 1) == a_block(3, 4)
    assert warehouse.planned("tests_rows", 2) is None


def test_a_plan_survives_a_reopening(place: Place) -> None:
    with place.opened() as warehouse:
        create(warehouse)
        warehouse.plan("tests_rows", 0, None, a_block(0, 10))
    with place.opened() as warehouse:
        assert warehouse.planned("tests_rows", 0) == a_block(0, 10)


def test_a_plan_is_not_undone_by_a_clock_that_steps_back(warehouse: Warehouse) -> None:
    warehouse.plan("tests_rows", 0, None, a_block(0, 10))
    # As if that had been written while the clock was an hour ahead.
    blocks = holder(warehouse, "penstock_blocks")
    warehouse.command(
        f"INSERT INTO {blocks} SELECT * REPLACE (planned_at + INTERVAL 1 HOUR AS planned_at) "
        f"FROM {blocks}"
    )
    warehouse.plan("tests_rows", 0, a_block(0, 10), a_block(10, 20))
    assert warehouse.planned("tests_rows", 0) == a_block(10, 20)
    warehouse.command(f"OPTIMIZE TABLE {blocks} FINAL")
    assert warehouse.planned("tests_rows", 0) == a_block(10, 20)


def test_a_plan_that_follows_another_one_is_not_made(warehouse: Warehouse) -> None:
    first, second = a_block(0, 10), a_block(10, 20)
    warehouse.plan("tests_rows", 0, None, first)
    for was in (None, a_block(0, 9), a_block(0, 10, log="another"), second):
        with pytest.raises(Moved, match="partition 0 is planned up to 10"):
            warehouse.plan("tests_rows", 0, was, a_block(10, 30))
    assert warehouse.planned("tests_rows", 0) == first
    warehouse.plan("tests_rows", 0, first, second)
    with pytest.raises(Moved):
        warehouse.plan("tests_rows", 0, first, a_block(10, 30))
    assert warehouse.planned("tests_rows", 0) == second


def test_a_plan_may_be_repeated_by_whoever_made_it(warehouse: Warehouse) -> None:
    """A consumer that resumes plans the block again that may not have gone in."""
    block = a_block(0, 10)
    warehouse.plan("tests_rows", 0, None, block)
    warehouse.plan("tests_rows", 0, block, block)
    assert warehouse.planned("tests_rows", 0) == block
    warehouse.plan("tests_rows", 0, block, a_block(10, 20))


def test_a_plan_follows_the_last_one_also_where_nobody_looked_since_the_start(place: Place) -> None:
    with place.opened() as warehouse:
        create(warehouse)
        warehouse.plan("tests_rows", 0, None, a_block(0, 10))
    with place.opened() as warehouse:
        with pytest.raises(Moved):
            warehouse.plan("tests_rows", 0, None, a_block(0, 20))
        warehouse.plan("tests_rows", 0, a_block(0, 10), a_block(10, 20))


def test_plans_move_with_the_contents_of_their_table(warehouse: Warehouse) -> None:
    create(warehouse, "tests_shadow")
    warehouse.plan("tests_rows", 0, None, a_block(0, 50))
    warehouse.plan("tests_shadow", 0, None, a_block(0, 20))
    warehouse.exchange("tests_shadow", "tests_rows")
    assert warehouse.planned("tests_rows", 0) == a_block(0, 20)
    create(warehouse, "tests_shadow")
    assert warehouse.planned("tests_shadow", 0) is None


def test_plans_are_gone_with_their_table(warehouse: Warehouse) -> None:
    warehouse.plan("tests_rows", 0, None, a_block(0, 50))
    warehouse.drop("tests_rows")
    create(warehouse)
    assert warehouse.planned("tests_rows", 0) is None
    warehouse.drop("tests_rows")
    with pytest.raises(Unavailable, match="tests_rows is gone"):
        warehouse.plan("tests_rows", 0, None, a_block(0, 1))


# -- several processes ----------------------------------------------------------------------------


Two = tuple[ClickHouse, ClickHouse]


@pytest.fixture
def two(shared: Place) -> Iterator[Two]:
    with shared.opened() as one, shared.opened() as other:
        create(one)
        yield one, other


def test_another_process_is_told_that_the_partition_was_taken_over(two: Two) -> None:
    one, other = two
    one.plan("tests_rows", 0, None, a_block(0, 10))
    assert other.planned("tests_rows", 0) == a_block(0, 10)
    other.plan("tests_rows", 0, a_block(0, 10), a_block(10, 20))
    with pytest.raises(Moved):
        one.plan("tests_rows", 0, a_block(0, 10), a_block(10, 15))
    assert one.planned("tests_rows", 0) == a_block(10, 20)


def test_of_two_that_follow_one_block_the_engine_keeps_the_first(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have looked before either wrote, and even the longer block does not win by being so."""
    one, other = two
    first = a_block(0, 10)
    one.plan("tests_rows", 0, None, first)
    look = other._plans.last
    looks = iter([first] * (3 if one._layout.replicated else 1))  # replicas may lag behind
    monkeypatch.setattr(other._plans, "last", lambda *where: next(looks, None) or look(*where))
    one.plan("tests_rows", 0, first, a_block(10, 20))
    with pytest.raises(Moved, match="planned up to 20, not up to 10"):
        other.plan("tests_rows", 0, first, a_block(10, 99))
    assert one.planned("tests_rows", 0) == a_block(10, 20)


def test_of_many_at_once_one_goes_on(two: Two) -> None:
    one, _ = two
    together = threading.Barrier(4)

    def take(number: int) -> bool:
        warehouse = two[number % 2]
        together.wait()
        try:
            warehouse.plan("tests_rows", 0, None, a_block(0, 10 + number))
        except Moved:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(take, range(4)))
    assert won.count(True) == 1
    assert one.planned("tests_rows", 0) == a_block(0, 10 + won.index(True))


@pytest.mark.parametrize("shared", [SERVED, CLUSTER], indirect=True)
def test_a_token_without_its_plan_stops_nobody(two: Two) -> None:
    """As after a server was killed between the two; where there are replicas, both are one."""
    one, _ = two
    one.plan("tests_rows", 0, None, a_block(0, 10))
    one.command(f"ALTER TABLE {holder(one, 'penstock_blocks')} DELETE WHERE 1")
    while one.planned("tests_rows", 0) is not None:
        time.sleep(0.01)
    one.plan("tests_rows", 0, None, a_block(0, 20))
    assert one.planned("tests_rows", 0) == a_block(0, 20)
