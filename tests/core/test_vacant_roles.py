"""Where processes share a folder, `penstock status` says which role nobody has."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from penstock.cli.status import vacant
from penstock.core.folder import FolderLock
from penstock.core.settings import Settings


@pytest.fixture
def taken() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize(
    ("roles", "missing"),
    [(["edge", "work"], []), (["work"], ["edge"]), (["edge"], ["work"])],
)
def test_a_role_that_nobody_has_fails_and_names_the_remedy(
    tmp_path: Path, taken: ExitStack, roles: list[str], missing: list[str]
) -> None:
    for role in roles:
        taken.callback(FolderLock(tmp_path, role).release)

    found = list(vacant(Settings(data=str(tmp_path))))

    assert [(finding.check, finding.verdict) for finding in found] == [(r, "fail") for r in missing]
    assert all(f"penstock serve --role {f.check} --data {tmp_path}" in f.detail for f in found)


def test_where_brokers_have_the_log_the_roles_may_be_anywhere(tmp_path: Path) -> None:
    assert list(vacant(Settings(data=str(tmp_path), log="kafka://127.0.0.1:9"))) == []
