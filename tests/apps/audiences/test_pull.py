"""Pull mode makes the rows that the projection makes, of everything inside the retention."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.apps import audiences
from penstock.apps.audiences.events import TagRecorded
from penstock.apps.audiences.projections import TAGS, tag_rows
from penstock.core.events import Codec
from penstock.core.log import record_number
from penstock.core.projects import DEFAULT_PROJECT
from penstock.core.warehouse import pull, sql
from penstock.core.warehouse.clickhouse import ClickHouse
from penstock.core.warehouse.cluster import Layout
from support.records import records
from support.stores import open_warehouse

(PULL,) = sql.pulls(audiences.__name__)
codec = Codec(TAGS.events, "json")
WORDS = st.text(max_size=5)
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    warehouse = open_warehouse(tmp_path_factory.mktemp("warehouse"))
    queue, *_ = pull.statements(PULL, TAGS.events, "host:9092", Layout("penstock"))
    columns = queue.partition("\n) ENGINE = Kafka")[0]
    virtual = (
        "_partition UInt64, _offset UInt64, _error String, _timestamp_ms Nullable(DateTime64(3))"
    )
    warehouse.create([f"{columns}, {virtual}) ENGINE = Memory"])
    yield warehouse
    warehouse.close()


@st.composite
def tags(draw: st.DrawFn, day_ms: int) -> TagRecorded:
    return TagRecorded(
        time_ms=day_ms + draw(st.integers(0, DAY_MS - 1)),
        fraction_digits=draw(st.integers(0, 3)),
        cookie=draw(WORDS),
        country="CL",
        device="MOBILE",
        action=draw(st.sampled_from(["VIEW", "BUY"])),
        origin=draw(WORDS),
        product_id=draw(st.integers(0, 1 << 40) | WORDS),
        brand_id=draw(WORDS),
        category_id=draw(WORDS),
        price=draw(st.integers(-(1 << 31), (1 << 31) - 1)),
    )


def message(project: str, event: TagRecorded, partition: int, offset: int, taken_ms: int) -> bytes:
    """As the topic carries it in JSON, with what the engine Kafka adds."""
    seconds = b"%d.%03d" % divmod(taken_ms, 1000)
    added = b'{"_partition":%d,"_offset":%d,"_timestamp_ms":%b,' % (partition, offset, seconds)
    return added + codec.of(project)(event)[1:]


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data(), day=st.integers(-800, 20_000), partition=st.integers(0, 65_535))
def test_pulled_rows_are_projected_rows(
    engine: ClickHouse, data: st.DataObject, day: int, partition: int
) -> None:
    events = data.draw(st.lists(tags(day * DAY_MS), min_size=1, max_size=20))
    project = data.draw(st.sampled_from([DEFAULT_PROJECT, "acme"]))
    first = data.draw(st.integers(0, 1 << 40))
    offsets = range(first, first + len(events))
    engine.command("TRUNCATE TABLE audiences_tags_queue")
    times = data.draw(st.lists(st.integers(0, 2 * DAY_MS), min_size=20, max_size=20))
    times = [max(0, day * DAY_MS) + after for after in times[: len(events)]]
    taken = zip(events, offsets, times, strict=True)
    lines = [message(project, event, partition, n, at_ms) for event, n, at_ms in taken]
    with engine._clients.one() as client:
        client.raw_insert("audiences_tags_queue", insert_block=b"\n".join(lines), fmt="JSONEachRow")
    numbers = [record_number(partition, offset) for offset in offsets]
    made = tag_rows(records(events, numbers, times, project), None)
    projected = [msgspec.structs.astuple(row) for row in made.rows]
    assert sorted(engine.query(PULL.select, {})) == sorted(projected)


def test_what_is_malformed_or_of_another_kind_is_no_row(engine: ClickHouse, tmp_path: Path) -> None:
    engine.command("TRUNCATE TABLE audiences_tags_queue")
    engine.command(
        "INSERT INTO audiences_tags_queue (type, _error) VALUES "
        "('tag_recorded/1', 'Cannot parse'), ('another/1', '')"
    )
    assert engine.query(PULL.select, {}) == []
