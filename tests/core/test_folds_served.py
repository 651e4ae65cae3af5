"""An application that decides, from its manifest to its answers."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.core.errors import Misconfigured
from penstock.core.platform.answering import ApplicationContext
from penstock.main import build
from support.logs import add, contents
from support.purses import DECISIONS, MOVES, Decided, Moved, Purse, manifest, purses

encode = MOVES.codec().encode


def test_an_application_with_a_fold_runs_from_its_manifest(tmp_path: Path) -> None:
    platform = build(
        {"PENSTOCK_DISK_FREE_BYTES_MIN": "0"}, {"data": str(tmp_path)}, others=(manifest,)
    )
    try:
        platform.start()
        assert platform.log is not None
        add(platform.log, *map(encode, (Moved("a", 5), Moved("a", -2))), topic=MOVES.name)
        context = ApplicationContext(platform.sources, None, ())

        async def asked() -> list[Purse]:
            assert await platform.positions.caught_up(purses.name, 60.0)
            expired = replace(purses, expires=lambda _: platform.clock.now_ms())
            lasting = replace(purses, expires=lambda _: platform.clock.now_ms() + 3_600_000)
            asked = ((purses, b"a"), (lasting, b"a"), (expired, b"a"), (purses, b"nobody"))
            return [await context.get(fold, key) for fold, key in asked]

        known, lasting, *nobody = asyncio.run(asked())
        assert (known.cents, lasting.cents, nobody) == (3, 3, [Purse(), Purse()])
        said = [DECISIONS.codec().decode(p) for p in contents(platform.log, DECISIONS.name)]
        assert said == [Decided("a", 1, 3, taken=True)]
    finally:
        platform.close()


def test_a_process_that_may_not_decide_is_refused_at_its_start(tmp_path: Path) -> None:
    """An embedded log is written by one process."""
    with pytest.raises(Misconfigured, match="role edge"):
        build({}, {"data": str(tmp_path)}, roles=("work",), others=(manifest,))


def test_what_leads_back_through_another_fold_is_known_from_the_manifests(tmp_path: Path) -> None:
    changed: dict[str, Any] = {"space": "tests.back", "topic": DECISIONS, "emits": (MOVES,)}
    back = replace(purses, **changed)
    others = (replace(manifest, projections=(*manifest.projections, back)),)
    platform = build({"PENSTOCK_DISK_FREE_BYTES_MIN": "0"}, {"data": str(tmp_path)}, others=others)
    try:
        around = {(purses.space, DECISIONS.name), (back.space, MOVES.name)}
        assert platform.sources.stores.circles == around
    finally:
        platform.close()
