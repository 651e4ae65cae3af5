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
SECTIONS = {"hostile": "attacked"}
"""Measures with a table of their own on the page, by its name; all others share `results`."""
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
    """The tables of the page, from all results there are."""
    text = PAGE.read_text()
    for section in ("results", *SECTIONS.values()):
        begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
        head, _, rest = text.partition(begin)
        tail = rest.partition(end)[2]
        names = [name for name in MEASURES if SECTIONS.get(name, "results") == section]
        text = f"{head}{begin}\n{_table(known, names)}\n{end}{tail}"
    PAGE.write_text(text)


def _table(known: dict[str, object], names: list[str]) -> str:
    lines = ["| what | measured | must reach | verdict |", "|---|---|---|---|"]
    for name in names:
        result = known.get(name)
        if isinstance(result, dict):
            for kept in result["rows"]:
                row = Row(**kept)
                cells = (row.what, row.measured, row.target, VERDICTS[row.met])
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
