"""A fold with a mirror, from its manifest to what routes and operators are told of it."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import generate_latest

from penstock.core.errors import Misconfigured, NotReady
from penstock.core.health import Health
from penstock.core.manifest import Manifest
from penstock.core.operations import Operations
from penstock.core.platform import Platform
from penstock.core.platform.answering import ApplicationContext
from penstock.core.projection import Mirror
from penstock.core.projection.mirroring import Mirroring
from penstock.core.warehouse import Unavailable, sql
from penstock.main import build
from support.lines import Lines
from support.logs import add, wait_until
from support.mirrored import Line, Put, kept, row
from support.purses import Settings

FOLD = kept("kept", mirror=Mirror(table="tests_kept", columns=Line, row=row, wait_seconds=0.01))
QUERY = "SELECT key, amount FROM tests_kept FINAL WHERE project = {project:String} ORDER BY key"
manifest = Manifest(
    name="tests",
    summary="What is kept.",
    settings=Settings,
    topics=(FOLD.topic,),
    projections=(FOLD,),
    package="support.mirrored",
)


class Taken(msgspec.Struct, frozen=True):
    project: str


def built(folder: Path, offered: Manifest = manifest) -> Platform:
    return build({"PENSTOCK_DISK_FREE_BYTES_MIN": "0"}, {"data": str(folder)}, others=(offered,))


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    made = built(tmp_path)
    yield made
    made.close()


def put(platform: Platform, *events: Put) -> None:
    assert platform.log is not None
    add(platform.log, *map(FOLD.topic.codec().encode, events), topic=FOLD.topic.name)


def asked(platform: Platform) -> list[tuple[Any, ...]]:
    """What a route would be answered; nothing while it is told to wait."""
    context = ApplicationContext(platform.sources, None, ())
    try:
        return asyncio.run(context.query(QUERY, {}))
    except NotReady:
        return []


def test_a_fold_that_is_taken_over_during_a_turn_is_no_failure_of_its_mirror(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at a start, where both begin at once; the next turn takes all in."""
    look, left, lines = Mirroring._look, [3], Lines()

    def looked(mirroring: Mirroring) -> None:
        look(mirroring)
        if left[0]:
            left[0] -= 1
            mirroring.resume()

    monkeypatch.setattr(Mirroring, "_look", looked)
    filling = platform.consumers[FOLD.name].filling
    assert filling is not None
    monkeypatch.setattr(filling, "_logger", lines.logger)
    platform.start()
    put(platform, Put("a", 1))
    wait_until(lambda: asked(platform) == [("a", 1)])
    assert (left, filling.retries, lines.lines) == ([0], 0, [])


def test_the_fold_goes_on_without_the_warehouse_and_its_mirror_catches_up(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reliability 7: the mirror lags, says so, and nobody waits for it."""
    platform.start()
    put(platform, Put("a", 1))
    wait_until(lambda: asked(platform) == [("a", 1)])
    tables, away = platform.require_stores().tables, [True]
    insert = tables.insert

    def unavailable(*given: Any, **named: Any) -> None:
        if away:
            raise Unavailable("the engine is away")
        insert(*given, **named)

    monkeypatch.setattr(tables, "insert", unavailable)
    put(platform, Put("a", 2), Put("b", 3))
    context = ApplicationContext(platform.sources, None, ())

    async def known() -> int:
        assert await context.caught_up(FOLD.name, 60.0)
        return (await context.get(FOLD, b"b")).amount

    assert asyncio.run(known()) == 3
    stages = Health(platform)._stages
    wait_until(lambda: "away" in stages()["mirrors"][0]["last_error"])
    [stage] = stages()["mirrors"]
    assert (stage["mirror"], stage["whole"]) == ("tests_kept", True)
    assert stage["lag_seconds"] > 0
    assert asked(platform) == [("a", 1)]
    metrics = generate_latest(platform.registry.prometheus).decode()
    lag = 'penstock_mirror_lag_seconds{partition="0",projection="tests.kept"}'
    assert f"{lag} 0.0\n" not in metrics
    assert lag in metrics
    away.clear()
    wait_until(lambda: asked(platform) == [("a", 2), ("b", 3)])
    wait_until(lambda: stages()["mirrors"][0]["last_error"] == "")


def test_it_is_rebuilt_where_it_is_served(platform: Platform) -> None:
    platform.start()
    put(platform, Put("a", 1), Put("b", 2))
    wait_until(lambda: asked(platform) == [("a", 1), ("b", 2)])
    how = {"from_scratch": False, "dry_run": False}
    for name in (FOLD.name, "tests_kept"):  # from the log, and from the states
        rebuilt = Operations(platform).rebuild(name, lambda *_: None, **how)
        assert (rebuilt.differences, rebuilt.lost, rebuilt.swapped) == ([], [], True)
    put(platform, Put("b", 0))
    wait_until(lambda: asked(platform) == [("a", 1)])


def test_a_mirror_that_is_not_whole_is_not_answered_from(platform: Platform) -> None:
    """As while it is filled after its table was lost."""
    context = ApplicationContext(platform.sources, None, ())
    with pytest.raises(NotReady, match="is being"):
        asyncio.run(context.query(QUERY, {}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("ReplacingMergeTree(version, is_deleted)", "MergeTree"), "it is a mirror"),
        (("ORDER BY (project, key)", "ORDER BY key"), "it is a mirror"),
        (("  word       String,\n", ""), "its rows have"),
    ],
)
def test_a_table_that_is_no_mirror_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], said: str
) -> None:
    [declared] = sql.schema(manifest.package)
    changed = declared.replace(*change)
    assert changed != declared
    monkeypatch.setattr(sql, "schema", lambda _: [changed])
    made = built(tmp_path)
    try:
        with pytest.raises(Misconfigured, match=said):
            made.start()
    finally:
        made.close()


def test_two_projections_do_not_fill_one_table() -> None:
    other = kept("other", mirror=FOLD.mirror)
    with pytest.raises(ValueError, match="more than one projection fills tests_kept"):
        replace(manifest, topics=(FOLD.topic, other.topic), projections=(FOLD, other))
    with pytest.raises(ValueError, match="is the platform's to fill"):
        Mirror(table="tests_x", columns=Taken, row=row)
