"""One declaration, and the statements that each setting makes of it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.core.errors import Misconfigured
from penstock.core.warehouse import Warehouse, sql
from penstock.core.warehouse.cluster import Layout, layout
from penstock.core.warehouse.plans import declaration as plans
from penstock.main import manifests
from support.clickhouse_http import configuration
from support.stores import open_warehouse

LAYOUTS = {
    "plain": Layout("penstock"),
    "replicated": Layout("penstock", replicated=True),
    "cluster": Layout("penstock", "main"),
    "cluster_replicated": Layout("penstock", "main", replicated=True),
}
FOLDER = Path(__file__).parent / "layouts"
DECLARED = sql.statements((FOLDER / "declared.sql").read_text())
PLANS = plans(alone=False)
APPLICATION = [text for manifest in manifests() for text in sql.schema(manifest.package)]


def everything(where: Layout) -> list[str]:
    """Every kind of statement that the warehouse ever sends."""
    return [
        *(made for text in DECLARED for made in where.create(text)),
        *where.create_everywhere(PLANS),
        where.exchange("shop_sales__shadow", "shop_sales"),
        *where.drop("shop_sales__shadow"),
        where.drop_partition("shop_sales", -7),
        f"SELECT DISTINCT partition FROM {where.system('parts')}",
    ]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    warehouse = open_warehouse(tmp_path_factory.mktemp("warehouse"))
    yield warehouse
    warehouse.close()


def spelt(engine: Warehouse, statement: str) -> str:
    """As ClickHouse's own parser writes it: what is no statement raises."""
    return str(engine.query("SELECT formatQuerySingleLine({q:String})", {"q": statement})[0][0])


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_setting_gives_these_statements(name: str) -> None:
    """After a change: `python -m core.test_warehouse_cluster`, then look at what became of them."""
    made = ";\n\n".join(everything(LAYOUTS[name])) + ";\n"
    assert made == (FOLDER / f"{name}.sql").read_text()


@pytest.mark.parametrize("where", LAYOUTS.values(), ids=LAYOUTS)
def test_clickhouse_takes_every_statement_for_one(engine: Warehouse, where: Layout) -> None:
    statements = everything(where)
    statements += [made for text in APPLICATION for made in where.create(text)]
    if where.cluster:
        identity = "00000000-0000-0000-0000-000000000001"
        statements += [where.join(made, identity) for made in where.create(DECLARED[0])]
        assert f"UUID '{identity}'" in spelt(engine, statements[-1])
    for statement in statements:
        assert spelt(engine, statement)


@pytest.mark.parametrize("where", LAYOUTS.values(), ids=LAYOUTS)
def test_a_setting_is_in_every_statement_that_it_concerns(where: Layout) -> None:
    for statement in everything(where)[:-1]:
        assert ("ON CLUSTER 'main'" in statement) == bool(where.cluster)
        if "MergeTree" in statement and "Distributed" not in statement:
            assert ("ENGINE = Replicated" in statement) == where.replicated
            assert ("non_replicated_deduplication_window" in statement) <= (not where.replicated)


# -- the same table ----------------------------------------------------------------------------

IDENTIFIERS = st.from_regex(r"\A[a-z][a-z_]{0,6}\Z").filter(lambda name: name not in {"in", "by"})
TYPES = st.sampled_from(
    ["UInt64", "Int64 CODEC(Delta, ZSTD)", "LowCardinality(String)", "Array(Tuple(Int8, String))",
     "DateTime64(3) DEFAULT now64(3)", "Decimal(9, 2)"]
)  # fmt: skip


@st.composite
def declarations(draw: st.DrawFn) -> str:
    columns = draw(st.lists(IDENTIFIERS, min_size=2, max_size=6, unique=True))
    kinds = [draw(TYPES) for _ in columns]
    family = draw(
        st.sampled_from(
            ["MergeTree", "MergeTree()", "AggregatingMergeTree",
             f"ReplacingMergeTree({columns[0]})", f"SummingMergeTree({columns[1]})",
             f"SummingMergeTree(({columns[0]}, {columns[1]}))"]
        )
    )  # fmt: skip
    partition = draw(st.sampled_from(["", f"PARTITION BY intDiv({columns[0]}, 60) "]))
    space = draw(st.sampled_from([" ", "\n", "\n  "]))
    window = draw(st.integers(0, 100_000))
    listed = f",{space}".join(f"{c} {k}" for c, k in zip(columns, kinds, strict=True))
    return (
        f"-- shard by: cityHash64({columns[0]})\n"
        f"CREATE TABLE{draw(st.sampled_from(['', ' IF NOT EXISTS']))} shop_rows ({listed}){space}"
        f"ENGINE = {family}{space}{partition}{space}ORDER BY ({columns[0]}, {columns[1]}){space}"
        f"SETTINGS non_replicated_deduplication_window = {window}, fsync_after_insert = 1"
    )


def shape(line: str) -> tuple[str, ...]:
    """Columns, partition, order and what else is settled of a spelt CREATE TABLE."""
    columns = re.search(r"\w \((.*)\) ENGINE", line)
    engine = re.search(r"ENGINE = (\w+)", line)
    clauses = re.search(r"(?:PARTITION BY .*)?ORDER BY .*(?= SETTINGS)", line)
    assert columns
    assert engine
    assert clauses
    return columns[1], engine[1].removeprefix("Replicated"), clauses[0]


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(declaration=declarations())
def test_columns_partition_and_order_are_those_of_the_declaration(
    engine: Warehouse, declaration: str
) -> None:
    declared = spelt(engine, declaration)
    for where in LAYOUTS.values():
        made = spelt(engine, where.create(declaration)[0])
        assert shape(made) == shape(declared)
        window = re.search(r"non_replicated_deduplication_window = (\d+)", declared)
        assert window
        kind = "replicated" if where.replicated else "non_replicated"
        assert f" {kind}_deduplication_window = {window[1]}" in made
        assert "fsync_after_insert = 1" in made


@pytest.mark.parametrize("where", LAYOUTS.values(), ids=LAYOUTS)
def test_arguments_of_an_engine_stand_behind_the_place_of_its_replicas(
    engine: Warehouse, where: Layout
) -> None:
    made = spelt(engine, where.create(DECLARED[1])[0])
    place = "'/clickhouse/tables/{uuid}/{shard}', '{replica}', "
    expected = place if where.cluster and where.replicated else ""
    assert f"ReplacingMergeTree({expected}version)" in made


# -- what the engine makes of it ----------------------------------------------------------------

_REPLICAS = """
import json, os, sys
import chdb

path, statements = sys.argv[1], json.loads(sys.stdin.read())
engine = chdb.connect(path)
engine.query("CREATE DATABASE penstock ENGINE = Atomic")
engine.query("USE penstock")
for statement in statements:
    engine.query(statement)
asked = "SELECT table, zookeeper_path, replica_name FROM system.replicas ORDER BY table"
print(engine.query(asked, "JSONCompactEachRow").bytes().decode(), end="", flush=True)
os._exit(0)  # it would go on to ask for the port of other replicas
"""


def test_the_engine_places_replicas_by_identity_so_that_they_may_change_their_names(
    tmp_path: Path,
) -> None:
    """With Keeper in memory, which is enough to make such tables and not to fill them."""
    where = Layout("penstock", "copies", replicated=True)
    (tmp_path / "config.xml").write_text(configuration())
    made = [text for one in DECLARED[:4] for text in where.create(one)]
    made += where.create_everywhere(PLANS)
    # What a cluster does for each host: it sees to the same identity on all of them.
    statements = [
        re.sub(r" ON CLUSTER 'copies'", f" UUID '{number:08}-0000-0000-0000-000000000000'", text)
        for number, text in enumerate(made, start=1)
    ]
    statements.append(where.exchange("shop_sales", "shop_prices").partition(" ON CLUSTER")[0])
    done = subprocess.run(
        [sys.executable, "-c", _REPLICAS, f"{tmp_path}/engine?config-file={tmp_path}/config.xml"],
        input=json.dumps(statements), stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found = {row[0]: row[1:] for row in map(json.loads, done.stdout.splitlines())}
    place = "/clickhouse/tables/{:08}-0000-0000-0000-000000000000/{}"
    assert found == {
        "shop_sales_local": [place.format(3, 1), "first"],
        "shop_prices_local": [place.format(1, 1), "first"],
        "shop_sums_local": [place.format(5, 1), "first"],
        "shop_buyers_local": [place.format(7, 1), "first"],
        "penstock_blocks": [place.format(9, "all"), "1-first"],
    }


# -- what is refused ---------------------------------------------------------------------------


def test_a_table_without_a_shard_key_is_refused_on_a_cluster_and_named() -> None:
    declaration = DECLARED[0].partition("\n")[2]
    for name in ("plain", "replicated"):
        assert LAYOUTS[name].create(declaration)
    for name in ("cluster", "cluster_replicated"):
        with pytest.raises(Misconfigured, match=r"PENSTOCK_WAREHOUSE_CLUSTER.*shop_sales.*shard"):
            LAYOUTS[name].create(declaration)


@pytest.mark.parametrize(
    ("url", "database"),
    [
        ("clickhouse://host:8123/events", "events"),
        ("clickhouse://host", "penstock"),
        ("clickhouses://user:pass@host:8443/", "penstock"),
    ],
)
def test_the_database_is_that_of_the_url(url: str, database: str) -> None:
    assert layout(url, "main", replicated=True) == Layout(database, "main", replicated=True)


@pytest.mark.parametrize("path", ["a/b", "a'b", "a%60b", "a%20b"])
def test_what_cannot_be_a_database_is_refused(path: str) -> None:
    with pytest.raises(Misconfigured, match=r"PENSTOCK_WAREHOUSE: .* cannot be a database"):
        layout(f"clickhouse://host/{path}", "", replicated=False)


if __name__ == "__main__":
    for golden, layout_of in LAYOUTS.items():
        (FOLDER / f"{golden}.sql").write_text(";\n\n".join(everything(layout_of)) + ";\n")
