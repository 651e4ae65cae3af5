"""Tables whose declaration gained columns: what every warehouse adds, tolerates and names."""

import msgspec

from penstock.core.warehouse import Differences, Warehouse
from support.stores import TABLE, create, insert, rows, stored
from support.warehouses import holder

OLD = TABLE.format(name="tests_rows")
PLACE = r"place LowCardinality(String) DEFAULT 'no, \'where' CODEC(ZSTD(3))"
NEW = OLD.replace("price Int32", f"price Int32, {PLACE}")
COLUMNS = ("n", "part", "word", "price")
NONE = Differences([], [])


def placed(warehouse: Warehouse) -> list[tuple[object, ...]]:
    return warehouse.query("SELECT n, place FROM tests_rows ORDER BY n", {})


def test_a_column_with_a_default_is_added_once_and_told(warehouse: Warehouse) -> None:
    insert(warehouse, range(2), "a")
    assert warehouse.differences(NEW) == Differences(["place"], [])
    [told] = warehouse.create([NEW])
    assert told.startswith("tests_rows.place was added: 'no, \\'where'")
    assert warehouse.create([NEW]) == []
    assert warehouse.differences(NEW) == NONE
    line = msgspec.json.encode(("there", 7, 0, "word", 7))
    warehouse.insert("tests_rows", line, 1, "b", ("place", *COLUMNS))
    assert placed(warehouse) == [(0, "no, 'where"), (1, "no, 'where"), (7, "there")]


def test_a_version_that_does_not_know_an_added_column_goes_on_beside_it(
    warehouse: Warehouse,
) -> None:
    warehouse.create([NEW])
    assert warehouse.differences(OLD) == NONE
    warehouse.insert("tests_rows", rows(1, 2), 2, "a", COLUMNS)
    assert placed(warehouse) == [(1, "no, 'where"), (2, "no, 'where")]
    assert warehouse.create([OLD]) == []


def test_what_takes_a_rebuild_is_named(warehouse: Warehouse) -> None:
    changed = OLD.replace("price Int32", "price Int64, shop String")
    assert warehouse.differences(changed) == Differences(
        [], ["shop is not there", "price is Int32 and not Int64"]
    )
    assert warehouse.create([changed]) == []
    fewer = OLD.replace(", price Int32", "")
    assert warehouse.differences(fewer) == Differences([], ["price is there"])
    assert warehouse.differences(TABLE.format(name="tests_none")) is None


def test_a_column_that_somebody_else_added_is_foreign(warehouse: Warehouse) -> None:
    warehouse.command(
        f"ALTER TABLE {holder(warehouse, 'tests_rows')} ADD COLUMN IF NOT EXISTS extra Int8"
    )
    if holder(warehouse, "tests_rows") != "tests_rows":
        warehouse.command("ALTER TABLE tests_rows ADD COLUMN IF NOT EXISTS extra Int8")
    assert warehouse.differences(OLD) == Differences([], ["extra is there"])


def test_what_was_added_to_contents_that_are_gone_is_foreign_to_others(
    warehouse: Warehouse,
) -> None:
    warehouse.create([NEW])
    warehouse.drop("tests_rows")
    warehouse.create([NEW])
    assert warehouse.differences(NEW) == NONE
    assert warehouse.differences(OLD) == Differences([], ["place is there"])
    create(warehouse, "tests_other")
    assert stored(warehouse, "tests_other") == []
