"""Schedules of an application: what a manifest may declare, and what operators see and do."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from penstock.cli import cli, remote
from penstock.core.control import Control, Door
from penstock.core.errors import Misconfigured
from penstock.core.events import Event
from penstock.core.manifest import Manifest, Run, Schedule
from penstock.core.platform import Platform
from penstock.core.reach import Reach
from penstock.main import build
from support.logs import contents
from support.scheduled import STATEMENTS, Stated

ENVIRONMENT = {"PENSTOCK_DISK_FREE_BYTES_MIN": "0"}


class Limits(msgspec.Struct, frozen=True):
    largest: int = 7


async def state(run: Run, reach: Reach) -> Sequence[Event]:
    """What it reaches is there: settings and stores, and the way out."""
    assert reach.http is not None
    return [Stated(run.context.settings.largest)]


async def fail(run: Run, reach: Reach) -> Sequence[Event]:
    del run, reach
    raise ValueError("the printer is on fire")


def daily(name: str, run: Any = state, **how: Any) -> Schedule:
    return Schedule(name=name, at="0 0 * * * Europe/Warsaw", run=run, **how)


def manifest(*schedules: Schedule) -> Manifest:
    return Manifest(
        name="tests",
        summary="Schedules of the tests.",
        settings=Limits,
        topics=(STATEMENTS,),
        schedules=schedules,
        package="support.purses",
    )


MANIFEST = manifest(daily("tests.daily", emits=(STATEMENTS,)), daily("tests.failing", fail))


# -- what may be declared ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedules", "why"),
    [
        ([daily("other.daily")], "may not offer the schedule other.daily"),
        ([daily("tests.a"), daily("tests.a")], "declared twice"),
        ([daily("tests.a", after=("tests.a",))], "declare that before it"),
        ([daily("tests.a", after=("tests.b",)), daily("tests.b")], "declare that before it"),
        (
            [daily("tests.a", everywhere=True), daily("tests.b", after=("tests.a",))],
            "runs everywhere and has no result",
        ),
        ([Schedule(name="tests.a", at="1 s", run=state, emits=(STATEMENTS,))], ""),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused_with_the_remedy(
    schedules: list[Schedule], why: str
) -> None:
    if not why:
        manifest(*schedules)
        return
    with pytest.raises(ValueError, match=why):
        manifest(*schedules)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"at": "daily"}, r"tests\.a: daily: write it as"),
        ({"at": "1 h", "everywhere": True, "emits": (STATEMENTS,)}, "one leader"),
        ({"at": "1 h", "retries": -1}, "not negative"),
    ],
)
def test_a_schedule_that_cannot_work_is_refused(how: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Schedule(name="tests.a", run=state, **how)


@pytest.mark.parametrize(
    ("environment", "roles", "why"),
    [
        ({}, ("work",), "role edge"),
        ({"PENSTOCK_LOG": "kafka://localhost:1"}, ("edge", "work"), "PENSTOCK_LOG"),
    ],
)
def test_a_process_that_may_not_append_what_a_schedule_returns_is_refused(
    tmp_path: Path, environment: dict[str, str], roles: tuple[str, ...], why: str
) -> None:
    with pytest.raises(Misconfigured, match=f"{why}|tests.daily"):
        build(environment, {"data": str(tmp_path)}, roles=roles, others=(MANIFEST,))


# -- operators ---------------------------------------------------------------------------------


def opened(folder: Path) -> Platform:
    return build(ENVIRONMENT, {"data": str(folder)}, others=(MANIFEST,))


def said(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["schedules", *words, "--data", str(folder)])


@contextmanager
def stopped(folder: Path, patched: pytest.MonkeyPatch) -> Iterator[None]:
    opened(folder).close()
    patched.setattr(remote, "build", partial(build, others=(MANIFEST,)))
    patched.setenv("PENSTOCK_DISK_FREE_BYTES_MIN", "0")
    yield


@contextmanager
def serving(folder: Path, patched: pytest.MonkeyPatch) -> Iterator[None]:
    """The tools find the door; behind it are the verbs of a platform that was started."""
    platform = opened(folder)
    control = Control(platform)

    def post(door: Door, verb: str, body: bytes) -> tuple[int, bytes]:
        del door
        struct, act = control._verbs[verb]
        return 200, msgspec.json.encode(act(msgspec.json.decode(body, type=struct)))

    patched.setattr(remote, "serving", lambda _: Door("http://localhost", "", 0))
    patched.setattr(remote, "_post", post)
    try:
        platform.start()
        yield
    finally:
        platform.close()


@pytest.mark.parametrize("how", [stopped, serving])
def test_operators_list_schedules_and_run_them_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Any
) -> None:
    interval = "2026-03-27T23:00:00Z/2026-03-28T23:00:00Z"
    with how(tmp_path, monkeypatch):
        for events in ("1 events", "nothing new"):
            ran = said(tmp_path, "run", "tests.daily", "--interval", "2026-03-28")
            assert ran.exit_code == 0, ran
            assert f"tests.daily {interval} succeeded: {events}" in ran.stdout
        failed = said(tmp_path, "run", "tests.failing")
        assert failed.exit_code == 1
        assert "failed: ValueError: the printer is on fire" in failed.stdout
        listed = said(tmp_path, "list").stdout
        assert re.search(r"tests\.daily +0 0 \* \* \* Europe/Warsaw .* succeeded", listed)
        assert re.search(r"tests\.failing .* failed", listed)
        history = said(tmp_path, "list", "tests.daily").stdout
        assert (
            len(re.findall(rf"^{interval} +succeeded .* hand +1 +1$", history, re.MULTILINE)) == 2
        )
        for wrong, why in (
            (("run", "tests.daily", "--interval", "noon"), "is no time"),
            (("run", "tests.daily", "--interval", "9998-01-01"), "is over at"),
            (("run", "tests.none"), "there are tests.daily, tests.failing"),
            (("list", "tests.none"), "there are tests.daily, tests.failing"),
        ):
            refused = said(tmp_path, *wrong)
            assert why in str(refused.exception), refused
    platform = opened(tmp_path)
    assert platform.log is not None
    payloads = contents(platform.log, STATEMENTS.name)
    platform.close()
    assert [STATEMENTS.codec().decode(payload) for payload in payloads] == [Stated(7)]


def test_a_platform_runs_what_is_due_by_itself(tmp_path: Path) -> None:
    ran = asyncio.Event()

    async def note(run: Run, reach: Reach) -> Sequence[Event]:
        del run, reach
        loop.call_soon_threadsafe(ran.set)
        return ()

    offered = manifest(
        Schedule(name="tests.led", at="1 s", run=note),
    )
    loop = asyncio.new_event_loop()
    platform = build(ENVIRONMENT, {"data": str(tmp_path)}, others=(offered,))
    try:
        platform.start()
        loop.run_until_complete(ran.wait())
    finally:
        platform.close()
        loop.close()
