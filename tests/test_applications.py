"""Which applications a process serves: ours, and a stranger's, `support.probe`, by its package."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.core.errors import Misconfigured
from penstock.load.cli import load
from penstock.main import APPLICATIONS, build, manifests, read_settings

ROOT = Path(__file__).parents[1]

SERVES = """
import sys
from penstock import main

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


@pytest.mark.parametrize(
    ("chosen", "name"), [("support.probe", "probe"), ("audiences", "audiences")]
)
def test_what_is_not_chosen_is_never_imported(tmp_path: Path, chosen: str, name: str) -> None:
    assert served(tmp_path, {"PENSTOCK_APPLICATIONS": chosen}) == ([name], {name})


@pytest.mark.parametrize(
    ("chosen", "applications"),
    [
        ("", ["audiences"]),
        (" support.probe , audiences,support.probe", ["probe", "audiences"]),
    ],
)
def test_all_of_ours_are_served_unless_some_are_chosen_in_the_order_of_the_choice(
    chosen: str, applications: list[str]
) -> None:
    assert [manifest.name for manifest in manifests(chosen)] == applications


def test_settings_of_an_application_that_is_not_chosen_are_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text(
        'applications = "support.probe"\n[probe]\nloud = true\n[audiences]\nquery_debug = true'
    )
    given = {"PENSTOCK_CONFIG": str(file), "PENSTOCK_AUDIENCES_UNHEARD_OF": "1"}

    assert served(tmp_path / "data", given) == (["probe"], {"probe"})


MANIFEST = """
import msgspec
from penstock.core.manifest import Manifest

class Settings(msgspec.Struct, frozen=True):
    loud: bool = False

manifest = Manifest(name={name!r}, summary="", settings=Settings, topics=(), package=__package__)
"""


STRANGE = ("mute", "of_a_stranger", "strange")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that the process was started in; what is imported from it is forgotten again."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in STRANGE]:
        del sys.modules[name]


def package(folder: Path, manifest: str) -> None:
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "manifest.py").write_text(manifest)


def test_an_application_is_found_where_the_process_was_started(here: Path) -> None:
    package(here / "of_a_stranger" / "till", MANIFEST.format(name="till"))
    given = {"PENSTOCK_APPLICATIONS": "of_a_stranger.till", "PENSTOCK_TILL_LOUD": "on"}

    assert [of.name for of in manifests(read_settings(given).applications)] == ["till"]


@pytest.mark.parametrize("begin", [read_settings, build])
@pytest.mark.parametrize(
    ("chosen", "manifest", "why"),
    [
        ("audience", "", "did you mean audiences?; ours are audiences, and no package audience is"),
        ("other.wallet", "", "no package other is found: start in the folder that it lies in"),
        ("strange", "", "strange.manifest has no `manifest = Manifest(...)`"),
        ("strange", "import stripe_of_nobody", "needs stripe_of_nobody, which is not installed"),
        ("strange", "1 / 0", "strange.manifest cannot be imported: ZeroDivisionError"),
        ("strange", MANIFEST.format(name="odd"), "calls it odd; give it the name of its package"),
        ("strange, a.strange", "", "strange and a.strange are both called strange; rename one"),
    ],
)
def test_an_application_that_cannot_be_served_stops_the_start_and_names_the_remedy(
    begin: Callable[[dict[str, str]], object], chosen: str, manifest: str, why: str, here: Path
) -> None:
    package(here / "strange", manifest)
    given = {"PENSTOCK_DATA": str(here / "data"), "PENSTOCK_APPLICATIONS": chosen}

    with pytest.raises(Misconfigured) as error:
        begin(given)

    assert str(error.value).startswith("PENSTOCK_APPLICATIONS: ")
    assert why in str(error.value)
    assert not (here / "data").exists()


def test_its_workload_is_found_there_too(here: Path) -> None:
    package(here / "strange", "")
    (here / "strange" / "load.py").write_text(
        "import click\n\n@click.command()\ndef command() -> None:\n    click.echo('sent')\n"
    )
    package(here / "mute", "")
    package(here / "strange" / "needy", "")
    (here / "strange" / "needy" / "load.py").write_text("import stripe_of_nobody")

    assert CliRunner().invoke(load, ["strange"]).output == "sent\n"
    assert "no module mute.load is found" in CliRunner().invoke(load, ["mute"]).output
    needy = CliRunner().invoke(load, ["strange.needy"])
    assert "strange.needy.load needs stripe_of_nobody, which is not installed" in needy.output
    assert "ours are audiences" in CliRunner().invoke(load, ["nobody"]).output


def test_every_application_is_listed_by_its_own_name() -> None:
    assert [manifest.name for manifest in manifests()] == list(APPLICATIONS)
