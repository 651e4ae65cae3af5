"""What is deleted by a condition is gone when that returns, and is missed by nobody."""

import pytest

from penstock.core.warehouse import Unavailable
from penstock.core.warehouse.clickhouse import ClickHouse
from support.stores import create, insert, stored
from support.warehouses import Place

ROWS = "tests_rows"


def test_rows_that_meet_a_condition_go_and_only_what_is_lost_besides_is_missed(
    warehouse: ClickHouse,
) -> None:
    """Reliability 14. Parts that are left empty are no copies of each other, and rows that came
    after a deletion stand for none that went before. Replicas are not counted.
    """
    for token in range(3):
        insert(warehouse, range(10 * token, 10 * token + 10), str(token), parts=3)
    assert warehouse.lacking(ROWS) == ""
    assert warehouse.delete(ROWS, "n % 2 = 1 OR word = 'ann\\'s'") == 15
    assert stored(warehouse) == list(range(0, 30, 2))
    assert warehouse.lacking(ROWS) == warehouse.damage(ROWS) == ""
    assert warehouse.delete(ROWS, "1") == 15
    assert warehouse.lacking(ROWS) == warehouse.damage(ROWS) == ""
    insert(warehouse, range(30, 36), "more", parts=3)
    assert warehouse.lacking(ROWS) == ""
    kept = "SELECT uniqExact(name), max(condition), min(done) FROM penstock_deletions FINAL"
    assert warehouse.query(kept, {}) == [(2, "", 1)], "what was asked for named somebody"
    warehouse.command(warehouse._layout.delete(ROWS, "n = 31"))
    missed = "rows are missing from 1 partitions, such as 1, which had 12 and has 11"
    assert warehouse.lacking(ROWS) == ("" if warehouse._layout.replicated else missed)


def test_one_that_was_interrupted_is_ended_by_the_next(place: Place) -> None:
    """Whether or not the engine had come to its end; nothing is missed in between."""
    warehouse = place.open()
    create(warehouse)
    insert(warehouse, range(10), "a", parts=2)
    for first, ended in ((0, False), (1, True)):
        assert warehouse.lacking(ROWS) == ""
        interrupt(warehouse, f"n = {first}", ended=ended)
        assert warehouse.lacking(ROWS) == ""
        warehouse.close()
        warehouse = place.open()
        assert warehouse.delete(ROWS, "n < 0") == 0
    assert stored(warehouse) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert warehouse.lacking(ROWS) == ""
    warehouse.close()


def interrupt(warehouse: ClickHouse, condition: str, *, ended: bool) -> None:
    taken = warehouse.command

    def command(sql: str) -> None:
        if ended or not sql.startswith("ALTER"):
            taken(sql)
        if sql.startswith("ALTER"):
            raise Unavailable("the process ends here")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(warehouse._deletions, "_command", command)
        with pytest.raises(Unavailable):
            warehouse.delete(ROWS, condition)
