"""`python -m bench [NAME …] [--length full]`: measure, print a table, keep it in the docs."""

import json
import os
import platform
import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench.measures import MEASURES
from bench.rows import PLANS, Row

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results.json"
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
VERDICTS = {True: "met", False: "**missed**", None: ""}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(sorted(MEASURES)))
@click.option(
    "--length",
    type=click.Choice(sorted(PLANS)),
    default="quick",
    show_default=True,
    help="quick: less than half an hour; medium: more; full: more than an hour.",
)
@click.option("--write", is_flag=True, help="Keep the results in bench/ and docs/benchmarks.md.")
def main(names: tuple[str, ...], *, length: str, write: bool) -> None:
    """Measure Penstock on this machine; without NAMES, everything."""
    console = Console()
    known: dict[str, object] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in names or tuple(MEASURES):
        began = time.monotonic()
        console.print(f"[bold]{name}[/]")
        rows = MEASURES[name](PLANS[length])
        table = Table("what", "measured", "target", "verdict")
        for row in rows:
            table.add_row(row.what, row.measured, row.target, VERDICTS[row.met])
        console.print(table)
        known[name] = {
            "length": length,
            "seconds": round(time.monotonic() - began),
            "on": _machine(),
            "rows": [row._asdict() for row in rows],
        }
        if write:
            RESULTS.write_text(json.dumps(known, indent=2) + "\n")
            _write_page(known)


def _machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    version = ".".join(map(str, sys.version_info[:3]))
    return f"{os.cpu_count()} cores {model}, CPython {version}, {time.strftime('%Y-%m-%d')}"


def _write_page(known: dict[str, object]) -> None:
    """The table of the page, from all results there are."""
    lines = ["| what | measured | must reach | verdict |", "|---|---|---|---|"]
    for name in MEASURES:
        result = known.get(name)
        if isinstance(result, dict):
            for kept in result["rows"]:
                row = Row(**kept)
                cells = (row.what, row.measured, row.target, VERDICTS[row.met])
                lines.append("| " + " | ".join(cells) + " |")
    text = PAGE.read_text()
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    PAGE.write_text(f"{head}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{tail}")


if __name__ == "__main__":
    main()
