import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from load.reference import CountsTwice, ReferenceServer, Store, serving
from penstock.load.audiences.cli import RUNS
from penstock.load.audiences.plans import DAY_TAGS, PLANS
from penstock.load.cli import load
from penstock.load.plans import tailored

pytestmark = pytest.mark.slow

SHORT = [
    "audiences",
    "smoke",
    "--rate",
    "300",
    "--duration",
    "2",
    "--cookies",
    "20",
    "--profile-wait",
    "0.2",
    "--aggregate-wait",
    "0.2",
    "--aggregate-start",
    "0.5",
    "--tail-wait",
    "0.2",
    "--timeouts",
    "5",
    "5",
    "5",
]


def test_au_132_every_run_is_offered() -> None:
    assert set(RUNS) == set(PLANS)
    shown = CliRunner().invoke(load, ["audiences", "--help"]).output
    assert all(run in shown for run in RUNS)


@pytest.mark.parametrize(("store", "status"), [(Store(), 0), (CountsTwice(), 1)])
def test_au_130_the_exit_status_tells_whether_all_was_exact(
    store: Store, status: int, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    with serving(ReferenceServer(store)) as url:
        result = CliRunner().invoke(load, [*SHORT, "--url", url, "--json", str(path)])
    assert result.exit_code == status, result.output
    report = json.loads(path.read_text())
    assert report["perfect"] is (status == 0)
    assert report["operations"]["user_tags"]["status_2xx"] == 600
    assert ("wrong answer 1" in result.output) is (status == 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["crash"], "--kill-command"),
        (["smoke", "--kill-every", "5"], "only a crash run kills"),
        (["smoke", "--url", "ftp://example.test"], "not an http:// or https:// address"),
    ],
)
def test_au_132_what_cannot_be_run_is_refused_at_once(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(load, ["audiences", "--cookies", "10", *arguments])
    assert result.exit_code == 1
    assert message in result.output


def test_au_122_aggregates_start_by_the_reference_formula() -> None:
    starts = {
        rate: tailored(PLANS["standard"], rate=rate).aggregates_after for rate in (1000, 100, 10)
    }
    assert starts == {1000: 3 * 60, 100: 21 * 60, 10: 201 * 60}


def test_au_133_connections_grow_with_the_rate_so_that_a_schedule_does_not_wait_for_them() -> None:
    rates = {
        rate: tailored(PLANS["standard"], rate=rate).connections for rate in (10, 1_000, 10_000)
    }
    assert rates == {10: 64, 1_000: 64, 10_000: 640}
    assert tailored(PLANS["soak"]).connections == 64


def test_au_132_plans_are_tailored_by_rate_and_duration() -> None:
    assert tailored(PLANS["standard"]).events == 15 * 60 * 1000
    assert tailored(PLANS["standard"], rate=10).events == 15 * 60 * 10
    assert tailored(PLANS["standard"], duration=5).events == 5_000
    assert tailored(PLANS["soak"], duration=5).seconds == 5
    assert tailored(PLANS["soak"]).events == DAY_TAGS
    assert tailored(PLANS["burst"]).events == 50_000
    assert tailored(PLANS["burst"], changes={"tail_wait": 1.0, "url": "x"}).tail_wait == 1.0


def test_the_command_line_starts_without_the_heavy_imports() -> None:
    code = "import sys, penstock.load.cli; print('numpy' in sys.modules, 'rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
