"""Which applications a process serves; `support.probe` stands beside ours, as a second one."""

import subprocess
import sys
from pathlib import Path

import pytest

from penstock.core.errors import Misconfigured
from penstock.main import APPLICATIONS, build, manifests, read_settings

ROOT = Path(__file__).parents[1]

SERVES = """
import sys
from penstock import main

main.APPLICATIONS["probe"] = "support.probe"
assert not [name for name in sys.modules if name.startswith(("penstock.apps.", "support."))]
given = {"PENSTOCK_DATA": sys.argv[1], "PENSTOCK_DISK_FREE_BYTES_MIN": "0", **eval(sys.argv[2])}
platform = main.build(given, roles=["edge"])
platform.start()
platform.close()
print(*(manifest.name for manifest in platform.manifests))
print(*{name.split(".")[2] for name in sys.modules if name.startswith("penstock.apps.")})
print(*{name.split(".")[1] for name in sys.modules if name.startswith("support.")})
"""


def served(tmp_path: Path, given: dict[str, str]) -> tuple[list[str], set[str]]:
    """The applications of a process, and those of which something was imported."""
    done = subprocess.run(
        [sys.executable, "-c", SERVES, str(tmp_path), repr(given)],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    applications, ours, beside = done.stdout.splitlines()
    return applications.split(), {*ours.split(), *beside.split()}


@pytest.mark.parametrize("chosen", ["probe", "audiences"])
def test_what_is_not_chosen_is_never_imported(tmp_path: Path, chosen: str) -> None:
    assert served(tmp_path, {"PENSTOCK_APPLICATIONS": chosen}) == ([chosen], {chosen})


@pytest.mark.parametrize(
    ("chosen", "applications"),
    [("", ["audiences", "probe"]), (" probe , audiences,probe", ["probe", "audiences"])],
)
def test_all_are_served_unless_some_are_chosen_in_the_order_of_the_choice(
    monkeypatch: pytest.MonkeyPatch, chosen: str, applications: list[str]
) -> None:
    monkeypatch.setitem(APPLICATIONS, "probe", "support.probe")

    assert [manifest.name for manifest in manifests(chosen)] == applications


def test_settings_of_an_application_that_is_not_chosen_are_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text('applications = "probe"\n[probe]\nloud = true\n[audiences]\nquery_debug = true')
    given = {"PENSTOCK_CONFIG": str(file), "PENSTOCK_AUDIENCES_UNHEARD_OF": "1"}

    assert served(tmp_path / "data", given) == (["probe"], {"probe"})


@pytest.mark.parametrize("begin", [read_settings, build])
def test_an_application_that_there_is_not_stops_the_start_and_names_those_there_are(
    begin: type, tmp_path: Path
) -> None:
    given = {"PENSTOCK_DATA": str(tmp_path / "data"), "PENSTOCK_APPLICATIONS": "audience,probe"}

    with pytest.raises(Misconfigured) as error:
        begin(given)

    assert str(error.value) == (
        "PENSTOCK_APPLICATIONS: there is no application audience, probe; there are audiences"
    )
    assert not (tmp_path / "data").exists()


def test_every_application_is_listed_by_its_own_name() -> None:
    assert [manifest.name for manifest in manifests()] == list(APPLICATIONS)
