"""What every warehouse promises to projections and queries."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import msgspec
import pytest

from penstock.core.warehouse import BadRows, Unavailable, Warehouse
from support.stores import create, insert, rows, stored
from support.warehouses import Place, holder

# -- inserting ----------------------------------------------------------------------------------


def test_rows_are_there_once_the_insert_returns(warehouse: Warehouse) -> None:
    insert(warehouse, range(1000), "a")
    assert stored(warehouse) == list(range(1000))
    assert warehouse.query("SELECT part, word, price FROM tests_rows WHERE n = 7", {}) == [
        (0, "word", 7)
    ]


def test_large_blocks_go_in_as_one(warehouse: Warehouse) -> None:
    insert(warehouse, range(60_000), "a", parts=7)
    insert(warehouse, range(60_000), "a", parts=7)
    assert warehouse.query("SELECT count(), uniqExact(n) FROM tests_rows", {}) == [(60_000, 60_000)]


@pytest.mark.parametrize("parts", [1, 5])
def test_a_block_sent_thrice_is_stored_once(warehouse: Warehouse, parts: int) -> None:
    """Reliability 8."""
    for _ in range(3):
        insert(warehouse, range(100), "a", parts=parts)
    assert stored(warehouse) == list(range(100))


def test_equal_rows_under_another_token_are_other_rows(warehouse: Warehouse) -> None:
    insert(warehouse, range(3), "a")
    insert(warehouse, range(3), "b")
    assert stored(warehouse) == [0, 0, 1, 1, 2, 2]


def test_the_token_decides_and_not_the_rows(warehouse: Warehouse) -> None:
    insert(warehouse, range(3), "a")
    insert(warehouse, range(5), "a")
    assert stored(warehouse) == [0, 1, 2]


def test_equal_rows_in_one_block_are_all_kept(warehouse: Warehouse) -> None:
    warehouse.insert("tests_rows", rows(1, 1, 1), 3, "a")
    assert stored(warehouse) == [1, 1, 1]


def test_a_block_is_known_again_after_a_reopening(place: Place) -> None:
    for _ in range(3):
        warehouse = place.open()
        create(warehouse)
        insert(warehouse, range(10), "a", parts=3)
        assert stored(warehouse) == list(range(10))
        warehouse.close()


def test_a_block_is_known_again_after_its_parts_were_merged(warehouse: Warehouse) -> None:
    for n in range(10):
        insert(warehouse, range(n, n + 1), f"token {n}")
    warehouse.command(f"OPTIMIZE TABLE {holder(warehouse, 'tests_rows')} FINAL")
    for n in range(10):
        insert(warehouse, range(n, n + 1), f"token {n}")
    assert stored(warehouse) == list(range(10))


def test_a_block_is_known_again_after_the_table_took_anothers_name(warehouse: Warehouse) -> None:
    create(warehouse, "tests_shadow")
    insert(warehouse, range(5), "live")
    insert(warehouse, range(10), "shadow", table="tests_shadow")
    warehouse.exchange("tests_shadow", "tests_rows")
    assert stored(warehouse) == list(range(10))
    assert warehouse.columns("tests_shadow") == []
    insert(warehouse, range(10), "shadow")
    assert stored(warehouse) == list(range(10))
    insert(warehouse, range(10, 12), "live")
    assert stored(warehouse) == list(range(12))


def test_a_repeated_block_is_counted_once_in_a_materialised_view(warehouse: Warehouse) -> None:
    """Reliability 8."""
    warehouse.create(
        [
            """-- shard by: part
            CREATE TABLE tests_sums (part Int64, rows UInt64, total Int64)
            ENGINE = SummingMergeTree ORDER BY part
            SETTINGS non_replicated_deduplication_window = 1000""",
            """CREATE MATERIALIZED VIEW tests_view TO tests_sums AS
            SELECT part, count() AS rows, sum(price) AS total FROM tests_rows GROUP BY part""",
        ]
    )
    for _ in range(3):
        insert(warehouse, range(10), "a", parts=2)
    insert(warehouse, range(10), "b", parts=2)
    found = warehouse.query(
        "SELECT part, sum(rows), sum(total) FROM tests_sums GROUP BY part ORDER BY part", {}
    )
    assert found == [(0, 10, 40), (1, 10, 50)]


def test_blocks_from_many_threads_are_all_stored(warehouse: Warehouse) -> None:
    with ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            list(
                pool.map(lambda k: insert(warehouse, range(k * 50, k * 50 + 50), f"{k}"), range(20))
            )
    assert stored(warehouse) == list(range(1000))


# -- what may go wrong with rows ----------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        b'[1,0,"w","no number"]',
        b'[1,0,"w"]',
        b'[-1,0,"w",1]',
        b'[1,0,"w",1,2]',
        b"no row at all",
        b'[1,0,"w",1',
    ],
)
def test_a_row_the_engine_refuses_takes_its_whole_block_with_it(
    warehouse: Warehouse, bad: bytes
) -> None:
    block = rows(*range(50)) + bad + b"\n" + rows(*range(50, 100))
    with pytest.raises(BadRows, match="tests_rows"):
        warehouse.insert("tests_rows", block, 101, "a")
    assert stored(warehouse) == []
    insert(warehouse, range(2), "a")
    assert stored(warehouse) == [0, 1]


def test_a_block_with_fewer_rows_than_promised_is_no_success(warehouse: Warehouse) -> None:
    with pytest.raises(Unavailable, match="3 of 4 rows"):
        warehouse.insert("tests_rows", rows(1, 2, 3), 4, "a")


def test_any_words_go_in_and_come_out_unchanged(warehouse: Warehouse) -> None:
    words = ["", "'", '"', "\\", "\\N", "\n\t\0", "żółć", "😀", "{a:String}", "--", "%s", "NULL"]
    block = msgspec.json.Encoder().encode_lines([(n, 0, w, 0) for n, w in enumerate(words)])
    warehouse.insert("tests_rows", block, len(words), "a")
    for n, word in enumerate(words):
        found = warehouse.query(
            "SELECT n, word FROM tests_rows WHERE word = {w:String}", {"w": word}
        )
        assert found == [(n, word)]


def test_numbers_keep_their_last_digit(warehouse: Warehouse) -> None:
    edges = [(2**64 - 1, -(2**63), "w", 2**31 - 1), (0, 2**63 - 1, "w", -(2**31))]
    for number, edge in enumerate(edges):
        block = msgspec.json.Encoder().encode_lines([edge])
        warehouse.insert("tests_rows", block, 1, f"{number}")
        assert warehouse.query("SELECT * FROM tests_rows WHERE n = {n:UInt64}", {"n": edge[0]}) == [
            edge
        ]


def test_an_insert_into_a_table_that_is_gone_may_be_tried_again(warehouse: Warehouse) -> None:
    warehouse.drop("tests_rows")
    with pytest.raises(Unavailable):
        insert(warehouse, range(3), "a")
    create(warehouse)
    insert(warehouse, range(3), "a")
    assert stored(warehouse) == [0, 1, 2]


def test_rows_written_into_the_statement_itself_vanish_so_we_never_do_that(
    warehouse: Warehouse,
) -> None:
    """A trap of the embedded engine (chDB 26.9): no error, nothing stored. `insert` counts."""
    warehouse.command(
        "INSERT INTO tests_rows SELECT n, 0, 'w', 0 FROM input('n UInt64') FORMAT JSONEachRow "
        '{"n": 1}'
    )
    assert stored(warehouse) in ([], [1])
    insert(warehouse, range(5, 7), "a")
    assert stored(warehouse)[-2:] == [5, 6]


# -- queries and their limits -------------------------------------------------------------------


def test_a_query_that_takes_too_long_is_ended(place: Place) -> None:
    warehouse = place.open(query_seconds_max=0.3)
    try:
        with pytest.raises(Unavailable, match="querying the warehouse"):  # by itself it takes hours
            warehouse.query("SELECT sum(sipHash64(number)) FROM numbers(1000000000000)", {})
        assert eventually_answered(warehouse)  # within the same bound, once the machine allows it
    finally:
        warehouse.close()


def eventually_answered(warehouse: Warehouse) -> bool:
    for _ in range(100):
        with suppress(Unavailable):
            return warehouse.query("SELECT 1", {}) == [(1,)]
    return False


def test_a_query_that_takes_too_much_memory_is_ended_and_the_process_lives(place: Place) -> None:
    warehouse = place.open(query_memory_bytes_max=50_000_000)
    try:
        with pytest.raises(Unavailable, match="memory limit exceeded"):
            warehouse.query("SELECT groupArray(number) FROM numbers(100000000)", {})
        assert warehouse.query("SELECT 1", {}) == [(1,)]
    finally:
        warehouse.close()


def test_a_faulty_query_is_an_error_that_names_its_cause(warehouse: Warehouse) -> None:
    with pytest.raises(Unavailable, match="nowhere"):
        warehouse.query("SELECT 1 FROM nowhere", {})
    with pytest.raises(Unavailable, match="changing the warehouse"):
        warehouse.command("DROP TABLE nowhere")


def test_a_parameter_never_becomes_part_of_the_statement(warehouse: Warehouse) -> None:
    evil = "x'; DROP TABLE tests_rows; --"
    assert warehouse.query("SELECT {w:String}", {"w": evil}) == [(evil,)]
    assert warehouse.columns("tests_rows") != []


def test_columns_are_named_in_their_order(warehouse: Warehouse) -> None:
    assert warehouse.columns("tests_rows") == ["n", "part", "word", "price"]
    assert warehouse.columns("tests_none") == []


def test_queries_answer_while_blocks_go_in(warehouse: Warehouse) -> None:
    stop = threading.Event()
    counts: list[int] = []

    def ask() -> None:
        while not stop.is_set():
            counts.append(int(str(warehouse.query("SELECT count() FROM tests_rows", {})[0][0])))

    asking = threading.Thread(target=ask)
    asking.start()
    for n in range(30):
        insert(warehouse, range(n * 100, n * 100 + 100), f"{n}")
    stop.set()
    asking.join()
    assert counts == sorted(counts)
    assert all(count % 100 == 0 for count in counts)
