"""A data folder that the version before projects has made is served on.

`folders/before_projects.tar.xz` was made by that version: three tags and, under keys, one more and
a batch of which a line was refused. Nothing in it knows of projects, or of topics' identities.
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.audiences.served import Ask, Served
from apps.audiences.tags import a_tag, encoded, received
from penstock.apps.audiences.ingest import record_tag
from penstock.apps.audiences.projections import TAGS, aggregates, profiles
from penstock.apps.audiences.settings import Settings
from penstock.core.clock import SystemClock
from penstock.core.edge.knowing import Knowledge
from penstock.core.platform.answering import ApplicationContext
from support.logs import add

FOLDER = Path(__file__).parent / "folders" / "before_projects.tar.xz"
MADE_MS = 1_796_027_350_000
"""When it was stopped, a few seconds later: its idempotency keys are still remembered."""
RANGE = "time_range=2022-03-01T00:00:00_2022-03-01T00:03:00"
BUYS = f"{RANGE}&action=BUY&aggregates=COUNT&aggregates=SUM_PRICE"
BATCH = (
    b'{"time":"2022-03-01T00:01:00.123Z","cookie":"bob","country":"PL","device":"PC",'
    b'"action":"BUY","origin":"README","product_info":{"product_id":7,"brand_id":"Acme",'
    b'"category_id":"Shoes","price":1}}\n{"no":1}\n'
    b'{"time":"2022-03-01T00:02:00.123Z","cookie":"ann","country":"PL","device":"PC",'
    b'"action":"BUY","origin":"README","product_info":{"product_id":7,"brand_id":"Acme",'
    b'"category_id":"Shoes","price":2}}\n'
)


class Then(SystemClock):
    """The system's, as if the folder had just been made."""

    def __init__(self) -> None:
        self._since_ms = super().now_ms() - MADE_MS

    def now_ms(self) -> int:
        return super().now_ms() - self._since_ms


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(FOLDER) as archive:
        archive.extractall(folder, filter="data")
    platform = Served(folder, clock=Then())
    yield platform
    platform.close()


def sums(served: Served, of: str = "") -> list[tuple[str, str]]:
    return [(row[-2], row[-1]) for row in served.rows(BUYS + of)]


def test_what_was_there_is_answered_and_goes_on(served: Served) -> None:
    again = Ask(
        "/user_tags/batch",
        body=BATCH,
        headers={"content-type": "application/x-ndjson", "idempotency-key": "many"},
    )
    answer = served.ask(again)
    assert answer.headers["idempotent-replayed"] == "true"
    assert (answer.json["accepted"], answer.json["duplicate"]) == (2, 2)
    served.settle()
    assert sums(served) == [("1", "4999"), ("1", "1"), ("1", "2")]
    ann = served.profile("ann", RANGE).json
    assert [tag["product_info"]["price"] for tag in ann["buys"]] == [2, 4999]
    [line] = [line for line in served.lines if line["event"] == "warehouse.column_added"]
    assert line["added"].startswith("audiences_tags.project was added: 'default'")

    served.tag(a_tag(time="2022-03-01T00:02:30Z", action="BUY", cookie="new", origin="new"))
    served.settle()
    assert len(sums(served, "&origin=new")) == 3
    served.reopen()
    assert sum(int(count) for count, _ in sums(served)) == 4
    assert len([line for line in served.lines if line["event"] == "warehouse.column_added"]) == 1
    for view in (profiles, aggregates):
        stored = served.platform.consumers[view.name].sink.stored(0)
        assert stored is not None
        assert stored.log.endswith(f"/{TAGS.name}")


def test_projects_are_apart_in_tables_and_spaces(served: Served) -> None:
    """A record of another project, as the platform writes it, shows to nobody but that."""
    assert served.platform.log is not None
    before = sums(served)
    tag = a_tag(time="2022-03-01T00:01:00Z", action="BUY", cookie="ann")
    [event] = record_tag(
        received(encoded(tag)), Knowledge(Settings(max_future_skew_hours=0.0), None)
    ).events
    add(served.platform.log, TAGS.codec().of("acme")(event), topic=TAGS.name)
    served.settle()
    assert sums(served) == before
    mine = ApplicationContext(served.platform.sources, None, ())

    async def known(project: str) -> list[int]:
        group = b"annB"
        [history] = await mine.of(project).first(profiles.space, [group], 9)
        counted = await mine.of(project).query(
            "SELECT count() FROM audiences_tags WHERE project = {project:String}", {}
        )
        return [len(history), int(str(counted[0][0]))]

    assert served.run(known("acme")) == [1, 1]
    assert served.run(known("default"))[0] == 2
