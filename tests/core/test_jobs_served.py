"""Jobs of an application, from its manifest to what an operator sees of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.cli import remote
from penstock.cli.jobs import jobs
from penstock.core.errors import NotFound
from penstock.core.manifest import Manifest
from penstock.core.operations import Operations
from penstock.core.platform import Platform
from penstock.main import build
from support.errands import Asked, Told, fold
from support.logs import add, wait_until
from support.purses import Settings

FOLD = fold()
manifest = Manifest(
    name="tests",
    summary="Errands.",
    settings=Settings,
    topics=(FOLD.topic,),
    projections=(FOLD,),
    package="support.purses",
)


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    environment = {"PENSTOCK_DISK_FREE_BYTES_MIN": "0", "PENSTOCK_REACH_PORTS": "1"}
    built = build(environment, {"data": str(tmp_path)}, others=(manifest,))
    yield built
    built.close()


def told(platform: Platform, key: bytes) -> Told:
    value = platform.require_stores().state.get_many(FOLD.space, [key])[0]
    return Told() if value is None else FOLD.read(value)


def test_a_job_has_the_settings_of_its_application(platform: Platform) -> None:
    platform.start()
    assert platform.log is not None
    add(
        platform.log, FOLD.topic.codec().encode(Asked("c", trick="settings")), topic=FOLD.topic.name
    )
    wait_until(lambda: str(Settings()) in told(platform, b"c").of)


def test_a_job_that_is_given_up_is_listed_shown_tried_again_and_dropped(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.start()
    assert platform.log is not None
    encode = FOLD.topic.codec().encode
    # Its port may not be reached, which will not change by trying again.
    asked = (Asked("a", trick="http://192.0.2.1/"), Asked("b", trick="http://192.0.2.1/"))
    add(platform.log, *map(encode, asked), topic=FOLD.topic.name)
    operations = Operations(platform)
    wait_until(lambda: len(operations.jobs()) == 2)

    @contextmanager
    def ours(data: str | None) -> Iterator[Operations]:
        del data
        yield operations

    monkeypatch.setattr(remote, "operations", ours)
    run = CliRunner().invoke
    [first, second] = [line.number for line in operations.jobs("tests.send")]
    listed = run(jobs, ["list"]).output
    assert first in listed
    assert second in listed
    shown = run(jobs, ["show", first]).output
    assert "OutOfBounds" in shown
    assert '"trick":"http://192.0.2.1/"' in shown
    assert "1 to be tried again, 0 failed" in run(jobs, ["retry", first]).output
    wait_until(lambda: len(told(platform, b"a").of) == 2)
    wait_until(lambda: len(operations.jobs()) == 2)
    assert "2 dropped, 0 failed" in run(jobs, ["drop", "--yes", "--all", "tests.send"]).output
    assert "no jobs were given up" in run(jobs, ["list"]).output
    failed = run(jobs, ["retry", second])
    assert (failed.exit_code, "there is no job" in failed.output) == (1, True)
    with pytest.raises(NotFound):
        operations.show_job(second)
