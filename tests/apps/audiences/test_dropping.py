"""Whoever is to drop dead letters, or to delete rows, sees which they are before being asked."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner, Result

from apps.audiences.served import Served
from apps.audiences.tags import a_tag
from penstock.cli import cli, remote
from penstock.core.errors import NotFound
from penstock.core.operations import Operations
from penstock.core.projection.dead_letters import DeadLetter
from penstock.core.projection.deleting import Whose

TABLE = "audiences_tags"
QUESTION = "for good? The log keeps the records."


def a_letter(offset: int) -> DeadLetter:
    return DeadLetter(
        projection=TABLE,
        topic="audiences.tags",
        partition=0,
        offset=offset,
        next=offset + 1,
        code="undecodable",
        reason=f"it is no event: {offset}",
        payload=b"x",
        attempts=1,
        at_ms=0,
    )


@pytest.fixture
def operating(served: Served, monkeypatch: pytest.MonkeyPatch) -> Operations:
    """With 25 dead letters, and what the command line works on."""
    operations = Operations(served.platform)
    for offset in range(25):
        served.platform.require_stores().dead_letters.add(a_letter(offset))

    @contextmanager
    def ours(data: str | None) -> Iterator[Operations]:
        del data
        yield operations

    monkeypatch.setattr(remote, "operations", ours)
    return operations


def dropped(*arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(cli, ["dead-letters", "drop", TABLE, *arguments], input=answer)


def test_what_would_be_dropped_is_told_before_the_question(operating: Operations) -> None:
    refused = dropped("7", "9", answer="n\n")
    told, asked, _ = refused.output.partition(f"Drop these 2 {QUESTION}")
    assert ("it is no event: 7" in told, "it is no event: 9" in told) == (True, True)
    assert (bool(asked), refused.exit_code) == (True, 1)
    assert len(operating.dead_letters(TABLE)) == 25
    assert "drop: 2 done, 0 failed" in dropped("7", "9", answer="y\n").output
    told, asked, _ = dropped("--all", answer="n\n").output.partition(f"Drop these 23 {QUESTION}")
    assert (told.count("it is no event"), "and 3 more" in told) == (20, True)
    assert "drop: 23 done, 0 failed" in dropped("--all", "--yes").output
    assert operating.dead_letters(TABLE) == []
    assert dropped("--all").output == "no dead letters\n"


def test_nothing_is_asked_or_done_where_one_that_is_named_is_not_there(
    operating: Operations,
) -> None:
    refused = dropped("3", "99", answer="y\n")
    assert isinstance(refused.exception, NotFound)
    assert refused.output == ""
    assert len(operating.dead_letters(TABLE)) == 25


def deleted(*arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(cli, ["delete", *arguments], input=answer)


def test_rows_of_a_project_are_deleted_from_what_serves_after_the_question(
    operating: Operations, served: Served
) -> None:
    """Tags hold no cookie, so nobody's alone can be told."""
    served.tags(a_tag(cookie=cookie) for cookie in ("ann", "bob", "ann"))
    served.settle()
    kept = deleted("--project", "default", "--subject", "ann").output
    assert kept.splitlines()[1:] == [
        f"{TABLE}  -     it says of no row whom it is about",
        "nothing to delete",
    ]
    assert "nothing to delete" in deleted("--project", "shop").output
    refused = deleted("--project", "default", answer="n\n")
    assert f"Delete these 3 {QUESTION}" in refused.output
    assert (refused.exit_code, operating.deletable(Whose("default"))[0].rows) == (1, 3)
    done = deleted("--project", "default", "--yes")
    assert (done.output.splitlines()[-1], done.exit_code) == (f"{TABLE}: 3 rows deleted", 0)
    served.tags([a_tag(cookie="cid")])
    served.settle()
    assert operating.deletable(Whose("default"))[0].rows == 1
    served.platform.watch._prove(TABLE, served.platform.consumers[TABLE])
    served.until("/readyz", 200)
