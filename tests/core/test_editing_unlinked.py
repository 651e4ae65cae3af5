"""A database file that is deleted under a process: edits are refused, and nothing else notices."""

from pathlib import Path

from core.test_editing import Bench
from penstock.core.health import Health
from penstock.core.log import Append
from penstock.core.log.awaiting import stored
from support.logs import wait_until


def test_edits_are_answered_503_readiness_warns_and_the_log_goes_on(tmp_path: Path) -> None:
    """Reliability 15."""
    bench = Bench(tmp_path)
    try:
        health = Health(bench.platform)
        assert health.warnings() == {}
        shelf = bench.make("a")
        away = tmp_path / "away"
        away.mkdir()
        files = [*tmp_path.glob("database.db*")]
        for file in files:
            file.rename(away / file.name)
        for method, path, body in (
            ("GET", "/api/shelves", None),
            ("POST", "/api/shelves", {"name": "B", "code": "b"}),
            ("PUT", f"/api/shelves/{shelf['id']}", {"name": "B", "code": "b"}),
            ("DELETE", f"/api/shelves/{shelf['id']}", None),
        ):
            assert bench.ask(method, path, body).error == (503, "not_ready", "")
        relay = bench.platform.editing and bench.platform.editing.relay
        assert relay
        relay.wake()
        wait_until(lambda: [*health.warnings()] == ["changes"])
        assert str(tmp_path) not in health.warnings()["changes"]
        log = bench.platform.log
        assert log is not None
        assert stored(log, [Append("tests.events", [b"one"])])
        assert not (tmp_path / "database.db").exists()
        for file in files:
            (away / file.name).rename(file)
        relay.wake()
        assert bench.ask("GET", f"/api/shelves/{shelf['id']}").json == shelf
        bench.make("b")
        wait_until(lambda: [of.number for of in bench.said()][-1:] == [2])
        wait_until(lambda: health.warnings() == {})
    finally:
        bench.close()
