"""The statements by which ClickHouse consumes a topic by itself."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from penstock.cli import cli
from penstock.core.errors import Misconfigured
from penstock.core.events import Event
from penstock.core.warehouse import Unavailable, pull, sql
from penstock.core.warehouse.clickhouse import ClickHouse
from penstock.core.warehouse.cluster import Layout
from support.stores import open_warehouse

FOLDER = Path(__file__).parent / "layouts"
HERE = Layout("penstock")
BROKERS = "one:9092,two:9092"


class Sold(Event, frozen=True, array_like=True, gc=False, tag="sold/1"):
    time_ms: int
    word: str
    price: float
    gift: bool
    note: str | None = None
    product: int | str = 0
    places: list[str] = msgspec.field(default_factory=list)


class SoldAgain(Event, frozen=True, array_like=True, gc=False, tag="sold/2"):
    time_ms: int
    word: int
    seller: str


PULL = pull.Pull(
    "shop_sales",
    "shop.sales",
    "SELECT _offset AS log_offset, intDiv(time_ms, 60000) AS minute, word, toInt32(price) AS price "
    "FROM shop_sales_queue WHERE _error = ''",
)
TABLE = sql.statements((FOLDER / "declared.sql").read_text())[0]
VIRTUAL = "_topic String, _partition UInt64, _offset UInt64, _error String, _raw_message String"
"""What the engine Kafka offers besides the columns; a queue of the tests' own has to declare it."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[ClickHouse]:
    warehouse = open_warehouse(tmp_path)
    yield warehouse
    warehouse.close()


def statements(where: Layout = HERE) -> list[str]:
    return pull.statements(PULL, (Sold, SoldAgain), BROKERS, where)


@pytest.mark.parametrize(
    "where",
    [HERE, Layout("penstock", replicated=True), Layout("penstock", "main"),
     Layout("penstock", "main", replicated=True)],
    ids=["plain", "replicated", "cluster", "cluster_replicated"],
)  # fmt: skip
def test_clickhouse_takes_every_statement_for_one(engine: ClickHouse, where: Layout) -> None:
    for statement in statements(where):
        assert engine.query("SELECT formatQuery({q:String})", {"q": statement})
        assert ("ON CLUSTER 'main'" in statement) == bool(where.cluster)


def test_a_queue_has_the_fields_of_every_event_of_its_topic() -> None:
    columns = re.findall(r"^  (\w+) +([A-Z].*?),?$", statements()[0], re.MULTILINE)
    assert dict(columns) == {
        "type": "String",
        "project": "String",
        "time_ms": "Int64",
        "word": "String",  # a text in one version and a number in the other
        "price": "Float64",
        "gift": "Bool",
        "note": "Nullable(String)",
        "product": "String",
        "places": "String",
        "seller": "String",
    }


def test_a_queue_reads_its_topic_as_a_group_of_its_own_and_keeps_what_is_malformed() -> None:
    settings = dict(re.findall(r"^  (kafka_\w+) = '(.*?)',?$", statements()[0], re.MULTILINE))
    assert settings == {
        "kafka_broker_list": BROKERS,
        "kafka_topic_list": "shop.sales",
        "kafka_group_name": "penstock.pull.shop_sales",
        "kafka_format": "JSONEachRow",
        "kafka_handle_error_mode": "stream",
    }


def test_the_engine_knows_every_setting_of_a_queue(engine: ClickHouse) -> None:
    misspelt = statements()[0].replace("kafka_broker_list", "kafka_brokers_list")
    with pytest.raises(Unavailable, match="kafka_brokers_list"):
        engine.command(misspelt)
    try:
        engine.command(statements()[0])
    except Unavailable as error:  # the embedded one cannot consume, and says so at the very end
        assert "Shutdown was called" in str(error)  # noqa: PT017 - or there is no error at all


def test_rows_go_into_the_table_and_malformed_messages_into_another(engine: ClickHouse) -> None:
    queue, *others = statements()
    declared = queue.partition("\n) ENGINE = Kafka")[0] + f",\n{VIRTUAL}) ENGINE = Null"
    engine.create([TABLE, declared, *others])
    messages = [
        {"type": "sold/1", "time_ms": 120_000, "word": "a", "price": 7.0, "gift": True,
         "product": 5, "places": ["x", "y"], "_offset": 1},
        {"type": "sold/2", "time_ms": 60_000, "word": 12, "seller": "s", "_offset": 2},
        {"_topic": "shop.sales", "_partition": 3, "_offset": 4, "_error": "Cannot parse",
         "_raw_message": "{no json"},
    ]  # fmt: skip
    lines = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
    with engine._clients.one() as client:
        client.raw_insert("shop_sales_queue", insert_block=lines, fmt="JSONEachRow")
    assert engine.query("SELECT * FROM shop_sales ORDER BY log_offset", {}) == [
        (1, 2, "a", 7),
        (2, 1, "12", 0),
    ]
    assert engine.query(
        "SELECT topic, partition, offset, error, message FROM shop_sales_errors", {}
    ) == [("shop.sales", 3, 4, "Cannot parse", "{no json")]


def test_a_select_that_would_take_malformed_messages_for_rows_is_refused() -> None:
    careless = PULL._replace(select="SELECT 0 AS log_offset FROM shop_sales_queue")
    with pytest.raises(Misconfigured, match=r"shop_sales.*_error = ''"):
        pull.statements(careless, (Sold,), BROKERS, HERE)


# -- the command ----------------------------------------------------------------------------------


def said(*arguments: str, **environment: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["pull-sql", *arguments], env=environment)
    return done.exit_code, done.output


def test_the_command_prints_table_queue_and_views_for_the_cluster_of_the_settings() -> None:
    status, output = said(
        PENSTOCK_LOG="kafka://user:word@one:9092,two:9092",
        PENSTOCK_WAREHOUSE="clickhouse://host/events",
        PENSTOCK_WAREHOUSE_CLUSTER="main",
    )
    assert status == 0
    assert "word" not in output
    assert re.findall(r"^CREATE [A-Z ]+ (\w+) ON CLUSTER 'main'", output, re.MULTILINE) == [
        "audiences_tags_local", "audiences_tags", "audiences_tags_queue",
        "audiences_tags_errors_local", "audiences_tags_errors", "audiences_tags_errors_pull",
        "audiences_tags_pull",
    ]  # fmt: skip
    assert "kafka_broker_list = 'one:9092,two:9092'" in output
    assert "Distributed('main', 'events', 'audiences_tags_local'" in output


def test_the_command_asks_for_what_the_settings_do_not_say() -> None:
    server = {"PENSTOCK_WAREHOUSE": "clickhouse://host"}
    assert "--brokers" in said(**server)[1]
    assert "PENSTOCK_WAREHOUSE=clickhouse://" in said("--brokers", "a:1")[1]
    assert "kafka_broker_list = 'a:1'" in said("--brokers", "a:1", **server)[1]
