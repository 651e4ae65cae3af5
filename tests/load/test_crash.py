import sys
from pathlib import Path

import pytest
import uvloop

from penstock.load.audiences.plans import Options, Plan
from penstock.load.audiences.workload import Audiences
from penstock.load.chaos import Server, ServerNotReady
from penstock.load.client import Endpoint
from penstock.load.report import Report
from penstock.load.run import run
from services.ports import free_ports

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
PLAN = Plan(
    rate=300,
    events=900,
    profile_wait=0.5,
    aggregate_wait=0.5,
    aggregate_start=1.0,
    tail_wait=0.2,
    tail_cookies=100,
    kill_every=1.2,
)


def crashed(tmp_path: Path, *, forgetful: str) -> Report:
    (port,) = free_ports(1)
    code = (
        f"import sys; sys.path.insert(0, {str(TESTS)!r}); from load.crashing import main; "
        f"main({str(port)!r}, {str(tmp_path / 'tags')!r}, {forgetful!r})"
    )
    options = Options(
        url=f"http://127.0.0.1:{port}",
        cookies=50,
        connections=8,
        timeouts=(60.0, 60.0, 60.0),
        serve=f'{sys.executable} -c "{code}"',
        data=tmp_path,
    )
    return run("crash", PLAN, options, Audiences(options, PLAN))


def test_au_132_a_durable_server_survives_a_crash_run(tmp_path: Path) -> None:
    report = crashed(tmp_path, forgetful="no")
    assert report.wrong_answers == []
    assert report.perfect
    assert report.kills >= 1
    assert report.scores["user_profiles"] == 100.0
    assert 0 < report.accepted < 900
    assert report.resources.disk_bytes
    assert report.resources.server_cpu_seconds


def test_au_25_a_server_that_forgets_in_a_crash_is_found(tmp_path: Path) -> None:
    report = crashed(tmp_path, forgetful="yes")
    assert not report.perfect
    assert report.wrong_answers


def test_au_132_a_run_without_a_server_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.load.chaos._READY_SECONDS_MAX", 0.1)
    options = Options(url=f"http://127.0.0.1:{free_ports(1)[0]}", cookies=10)
    with pytest.raises(ServerNotReady, match="--serve"):
        run("smoke", PLAN, options, Audiences(options, PLAN))


def test_au_132_the_pid_comes_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("123\n")
    options = Options(url="http://127.0.0.1:1", pid_file=path)
    assert Server(options, Endpoint(options.url)).pid == 123


def test_a_server_that_ends_at_its_start_is_not_waited_for() -> None:
    (port,) = free_ports(1)
    serve = f'{sys.executable} -c "raise SystemExit(3)"'
    options = Options(url=f"http://127.0.0.1:{port}", serve=serve)

    with pytest.raises(ServerNotReady, match="ended with 3"):
        uvloop.run(Server(options, Endpoint(options.url)).start())
