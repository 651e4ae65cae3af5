"""An answer is right, or it is a 503 that says why (reliability 46, 50, 51)."""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.audiences.served import Ask, Served
from apps.audiences.tags import Tag, a_tag
from penstock.apps.audiences.projections import profile_group
from penstock.core.operations import Operations
from penstock.core.projection import witness
from support.asking import PATIENT
from support.damage import emptied
from support.endless import endless
from support.redis_state import client

TAGS = 60
MINUTE = "2022-03-01T00:00:00_2022-03-01T00:01:00"
AGGREGATES = f"time_range={MINUTE}&action=VIEW&aggregates=COUNT"
PROFILE = "time_range=2022-03-01T00:00:00_2022-03-01T01:00:00"
TABLE, SPACE = "audiences_tags", "audiences.profiles"
PATIENCE_SECONDS = 60.0


def tags(count: int = TAGS) -> Iterator[Tag]:
    return (a_tag(cookie="ann", time=f"2022-03-01T00:00:{n % 60:02d}Z") for n in range(count))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    platform = Served(tmp_path / "data")
    try:
        platform.tags(tags())
        platform.settle()
        yield platform
    finally:
        platform.close()


def test_what_events_lead_to_has_its_place_before_anybody_is_answered(tmp_path: Path) -> None:
    """To make one takes syncs, in which the state's engine keeps the interpreter from everybody."""
    served = Served(tmp_path / "data")
    try:
        state = served.platform.require_stores().state
        made = state.spaces()
        served.tags(tags())
        served.settle()
        looked_at(served)
        assert state.get_many(witness.SPACE, [TABLE.encode()]) != [None]
        assert state.first(SPACE, [profile_group("ann", "VIEW")], 1) != [[]]
        assert state.spaces() == made
    finally:
        served.close()


def counted(served: Served) -> str:
    return served.rows(AGGREGATES)[0][-1]


def parts(served: Served, table: str = TABLE) -> list[Path]:
    rows = served.platform.require_stores().tables.query(
        "SELECT path FROM system.parts WHERE active AND table = {table:String}", {"table": table}
    )
    return [Path(str(path)) for (path,) in rows]


def looked_at(served: Served) -> None:
    """Now, and not within five seconds."""
    served.platform.watch._prove(TABLE, served.platform.consumers[TABLE])


def rebuild(served: Served, name: str) -> None:
    Operations(served.platform).rebuild(name, lambda *_: None, from_scratch=True, dry_run=False)


def assert_silent(served: Served, lacks: str, profiles: int = TAGS) -> None:
    """The table; and nothing else."""
    refused = served.aggregates(AGGREGATES)
    assert refused.error == (503, "damaged")
    assert lacks in refused.json["message"]
    assert f"run `penstock rebuild {TABLE} --from-scratch`" in refused.json["message"]
    deadline = time.monotonic() + PATIENCE_SECONDS
    problems: dict[str, str] = {}
    while list(problems) != [TABLE] or lacks not in problems[TABLE]:
        assert time.monotonic() < deadline, problems
        problems = served.until("/readyz", 503).json["problems"]
    assert served.metric(f'penstock_view_answers{{projection="{TABLE}"}}') == 0
    assert served.metric(f'penstock_view_answers{{projection="{SPACE}"}}') == 1
    profile = served.profile("ann", PROFILE)
    assert (profile.status, len(profile.json["views"])) == (200, profiles)


def test_a_part_that_was_cut_short_while_nobody_ran_silences_its_table_until_it_is_rebuilt(
    served: Served,
) -> None:
    (part,) = parts(served)
    served.platform.close()
    emptied(part / "data.bin")
    served.platform = served._open()
    assert_silent(served, "1 parts are out of use, such as broken-on-start_")
    rebuild(served, TABLE)
    served.until("/readyz", 200)
    assert counted(served) == str(TAGS)
    served.tag(a_tag(cookie="ann", time="2022-03-01T00:00:00Z"))
    served.settle()
    assert counted(served) == str(TAGS + 1), "its projection goes on"


def test_a_part_that_is_gone_is_missed_at_the_start(served: Served) -> None:
    """Not of the last block: that would be made again."""
    (part,) = parts(served)
    served.platform.require_stores().tables.rest(TABLE)
    served.tags(tags(1))
    served.settle()
    looked_at(served)
    served.platform.close()
    shutil.rmtree(part)
    served.platform = served._open()
    assert_silent(served, f"which had {TAGS + 1} and has 1", profiles=TAGS + 1)


def lose_a_part(served: Served, beside: Callable[[Served], list[Path]]) -> None:
    """Of the table, not of its last block; and what is beside it. Nobody runs meanwhile."""
    served.platform.require_stores().tables.rest(TABLE)
    part = min(parts(served), key=first_block)
    served.tags(tags(1))
    served.settle()
    looked_at(served)
    lost = [part, *beside(served)]
    served.platform.close()
    for folder in lost:
        shutil.rmtree(folder)


def first_block(part: Path) -> int:
    return int(part.name.split("_")[1])


def counts(served: Served) -> list[Path]:
    """The folder of the table that holds them."""
    return [parts(served, "penstock_counts")[0].parent]


def counted_parts(served: Served) -> list[Path]:
    return parts(served, "penstock_counts")


def counts_and_plans(served: Served) -> list[Path]:
    return [*counts(served), parts(served, "penstock_blocks")[0].parent]


def whole_table(served: Served) -> list[Path]:
    """All parts but the first, which goes anyway."""
    return [*counts(served), *sorted(parts(served), key=first_block)[1:]]


@pytest.mark.parametrize("beside", [counts, counted_parts, counts_and_plans, whole_table])
def test_a_part_that_is_gone_with_what_was_counted_of_it_is_missed_by_the_state(
    served: Served, beside: Callable[[Served], list[Path]]
) -> None:
    """Reliability 46: one hand removes both, and what is left answers nothing."""
    told = f"which had {TAGS + 1} and has "
    if beside is counts_and_plans:  # for what was counted it could be an older copy
        told = f"has rows of records up to {TAGS}, and is planned up to 0 only"
    lose_a_part(served, beside)
    served.platform = served._open()
    assert_silent(served, told, profiles=TAGS + 1)
    served.reopen()
    assert_silent(served, told, profiles=TAGS + 1)
    rebuild(served, TABLE)
    served.until("/readyz", 200)
    assert counted(served) == str(TAGS + 1)


def test_what_retention_dropped_is_missed_by_neither_account(served: Served) -> None:
    """Though the state was told before, and the counts are gone since."""
    looked_at(served)
    stores = served.platform.require_stores()
    partition = int(parts(served)[0].name.split("_")[0])
    assert stores.tables.expire(TABLE, partition + 1) == 1
    assert witness.missing(stores.tables, stores.state, TABLE) == ""
    (counts_folder,) = counts(served)
    served.platform.close()
    shutil.rmtree(counts_folder)
    served.platform = served._open()
    served.until("/readyz", 200)


def test_counts_or_a_state_that_are_gone_alone_silence_nobody(served: Served) -> None:
    looked_at(served)
    lost = counts(served)
    served.platform.close()
    shutil.rmtree(lost[0])
    served.platform = served._open()
    served.until("/readyz", 200)
    looked_at(served)
    served.platform.close()
    shutil.rmtree(served.folder / "state")
    served.platform = served._open()
    served.until("/readyz", 200)
    assert counted(served) == str(TAGS)


def test_plans_that_are_gone_or_behind_double_nothing(served: Served) -> None:
    plans = parts(served, "penstock_blocks")
    served.platform.close()
    for part in plans:
        shutil.rmtree(part)
    served.platform = served._open()
    ahead = f"has rows of records up to {TAGS - 1}, and is planned up to 0 only"
    assert_silent(served, ahead)
    views = {view.name: view.wrong for view in Operations(served.platform).views()}
    assert ahead in views[TABLE]
    assert views[SPACE] == ""
    rebuild(served, TABLE)
    served.until("/readyz", 200)
    assert counted(served) == str(TAGS)
    served.reopen()
    assert counted(served) == str(TAGS)


def test_a_table_that_is_filled_while_an_operator_looks_is_not_taken_for_one_ahead_of_its_plan(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = served.platform.require_stores().tables
    query, asked = tables.query, 0

    def late(text: str, *given: Any, **named: Any) -> Any:
        nonlocal asked
        if "max(log_offset)" not in text:
            return query(text, *given, **named)
        asked += 1
        served.tags(tags(5))
        served.settle()
        rows = query(text, *given, **named)
        served.tags(tags(5))
        served.settle()
        return rows

    monkeypatch.setattr(tables, "query", late)
    assert [view.wrong for view in Operations(served.platform).views()] == ["", ""]
    assert asked == 1


def test_a_file_that_is_damaged_while_the_engine_runs_is_noticed_though_nobody_asks(
    served: Served,
) -> None:
    served.until("/readyz", 200)
    looked_at(served)
    emptied(parts(served)[0] / "count.txt")
    served.until("/readyz", 503)
    assert_silent(served, "1 parts have lost files or some of their bytes")
    assert [line for line in served.lines if line["event"] == "view.damaged"]


def test_a_damaged_file_of_the_state_silences_its_view_until_it_is_rebuilt(served: Served) -> None:
    served.platform.close()
    file = max((served.folder / "state").glob("*.sst"), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[20] ^= 1
    file.write_bytes(content)
    served.platform = served._open()
    refused = served.profile("ann", PROFILE)
    assert refused.error == (503, "damaged")
    assert f"run `penstock rebuild {SPACE} --from-scratch`" in refused.json["message"]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while list(problems := served.until("/readyz", 503).json["problems"]) != [SPACE]:
        assert time.monotonic() < deadline, problems  # as long as the table is being read too
    assert counted(served) == str(TAGS)
    rebuild(served, SPACE)
    served.until("/readyz", 200)
    assert len(served.profile("ann", PROFILE).json["views"]) == TAGS


def test_a_state_that_lost_its_newest_part_is_made_again_and_silent_meanwhile(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a flush of its server, though here it is the embedded one that forgets."""
    served.until("/readyz", 200)
    state, consumer = served.platform.require_stores().state, served.platform.consumers[SPACE]
    held: list[Any] = []
    apply = state.apply

    def hold(*given: Any, **named: Any) -> None:
        while not held:
            time.sleep(0.01)
        apply(*given, **named)

    monkeypatch.setattr(state, "apply", hold)
    state.drop(SPACE)
    problems = served.until("/readyz", 503).json["problems"]
    assert problems == {SPACE: f"{SPACE} is being made again: 0 of {TAGS} records are in"} or (
        problems[SPACE].startswith("Moved")
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while consumer.cursors[0].position:
        assert time.monotonic() < deadline
    refused = served.platform.watch
    with pytest.raises(Exception, match=f"made again: 0 of {TAGS} records"):
        refused.vouch(SPACE)
    assert counted(served) == str(TAGS)
    held.append(True)
    served.until("/readyz", 200)
    assert len(served.profile("ann", PROFILE).json["views"]) == TAGS


def test_a_question_that_never_returns_is_given_up_in_time_and_hinders_nobody(
    tmp_path: Path,
) -> None:
    """The engine waits for a pipe to which nobody writes, and hears of no limit there."""
    served = Served(tmp_path / "data", {**PATIENT, "PENSTOCK_QUERY_SECONDS_MAX": "1"})
    try:
        served.tags(tags())
        served.settle()
        tables = served.platform.require_stores().tables
        with endless(tmp_path, lambda: not served.platform.pools._users.stuck) as asked:

            async def stuck() -> list[object]:
                asking = [
                    served.platform.pools.run(lambda: tables.query(asked, {})) for _ in range(6)
                ]
                return list(await asyncio.gather(*asking, return_exceptions=True))

            told = served.run(stuck())
            assert {str(answer) for answer in told} == {"no answer within 1.5 seconds"}
            deadline = time.monotonic() + PATIENCE_SECONDS
            # A machine that is busy may need longer for an answer than is given here.
            while (answer := served.ask(Ask("/aggregates", AGGREGATES))).status != 200:
                assert time.monotonic() < deadline, answer
            assert answer.json["rows"][0][-1] == str(TAGS)
            assert {served.get(path).status for path in ("/readyz", "/metrics")} == {200}
    finally:
        served.close()


def test_a_redis_that_was_flushed_answers_no_question_until_it_has_everything_again(
    tmp_path: Path, redis_url: str
) -> None:
    """Not once less than there was, though nothing new arrives (reliability 51)."""
    with client(redis_url) as admin:
        admin.flushall()
        served = Served(tmp_path / "data", {**PATIENT, "PENSTOCK_STATE": redis_url})
        try:
            served.tags(tags())
            served.settle()
            answers = []
            for _ in range(3):
                admin.flushall()
                deadline = time.monotonic() + PATIENCE_SECONDS
                while (answer := served.profile("ann", PROFILE)).status != 200:
                    assert time.monotonic() < deadline
                    answers.append(answer)
                    served.until("/healthz", 200)
                assert len(answer.json["views"]) == TAGS
            assert {answer.error for answer in answers} == {(503, "not_ready")}
            assert "again" in answers[0].json["message"]
            assert counted(served) == str(TAGS)
        finally:
            served.close()
