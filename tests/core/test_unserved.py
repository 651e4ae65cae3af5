"""Topics that a log has of applications that are not served: a warning, and no hex."""

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from penstock.apps.audiences.manifest import manifest as audiences
from penstock.cli.events import events
from penstock.core.clock import SystemClock
from penstock.core.errors import NotFound
from penstock.core.manifest import Manifest
from penstock.core.platform import Platform
from penstock.core.settings import load
from support.lines import Lines
from support.logs import add
from support.notes import NOTES, Noted, codec


def opened(folder: Path, lines: Lines, *manifests: Manifest) -> Platform:
    structs: dict[str, type[msgspec.Struct]] = {of.name: of.settings for of in manifests}
    given = {"data": str(folder), "disk_free_bytes_min": 0}
    settings, applications = load({}, structs, given)
    return Platform(settings, applications, manifests, clock=SystemClock(), logger=lines.logger)


def test_a_process_names_the_topics_that_it_does_not_serve_and_events_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = Manifest(
        name="tests", summary="", settings=audiences.settings, topics=(NOTES,),
        package="support.probe",
    )  # fmt: skip
    lines = Lines()
    platform = opened(tmp_path, lines, notes)
    try:
        platform.start()
        assert platform.log is not None
        add(platform.log, codec.encode(Noted(1)), topic=NOTES.name)
    finally:
        platform.close()
    assert not lines.named("log.unserved"), "all that is there is served"

    platform = opened(tmp_path, lines, audiences)
    try:
        platform.start()
    finally:
        platform.close()
    [told] = lines.named("log.unserved")
    assert (told["level"], told["topics"]) == ("warning", NOTES.name)
    assert "PENSTOCK_APPLICATIONS so that it names tests" in told["remedy"]

    monkeypatch.setenv("PENSTOCK_DATA", str(tmp_path))
    done = CliRunner().invoke(events, [NOTES.name])
    assert isinstance(done.exception, NotFound)
    assert "of no application that is served; set PENSTOCK_APPLICATIONS" in str(done.exception)
    assert done.stdout == ""

    monkeypatch.setattr("penstock.main.manifests", lambda _: (notes,))
    done = CliRunner().invoke(events, [NOTES.name])
    assert json.loads(done.stdout)["type"] == "noted/1"
