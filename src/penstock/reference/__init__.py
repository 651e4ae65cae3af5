"""The pages of docs/reference and deploy/.env.example, made from the code, so that they cannot say
what is not there.

`python -m penstock.reference FOLDER FILE` writes them; tests hold them against the code.
"""

from pathlib import Path

from penstock.cli import cli
from penstock.core.telemetry import METRICS
from penstock.main import manifests
from penstock.reference.environment import environment_example
from penstock.reference.facts import events_page, read_models_page
from penstock.reference.interface import errors_page, http_page
from penstock.reference.operating import commands_page, metrics_page, settings_page


def pages() -> dict[str, str]:
    """Every page by its file name."""
    offered = manifests()
    return {
        "settings.md": settings_page(offered),
        "events.md": events_page(offered),
        "read-models.md": read_models_page(offered),
        "http.md": http_page(offered),
        "errors.md": errors_page(offered),
        "metrics.md": metrics_page(METRICS, offered),
        "commands.md": commands_page(cli),
    }


def environment() -> str:
    """What `.env.example` holds."""
    return environment_example(manifests())


def write(folder: Path) -> None:
    """Make the folder hold exactly the pages."""
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for stale in folder.glob("*.md"):
        if stale.name not in made:
            stale.unlink()
    for name, text in made.items():
        (folder / name).write_text(text)
