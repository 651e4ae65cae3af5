"""Kill as often as is asked for, show how far it is, and end with a line of figures."""

import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

import click

from support.killing.rounds import killed
from support.killing.verdict import Judgement, judged

_BAR_SECONDS, _LINE_SECONDS = 0.2, 10.0


def run(folder: Path, rounds: int, seed: int, show: Callable[[int], None]) -> Judgement:
    draw, acknowledged = random.Random(seed), list[int]()
    for number in range(rounds):
        acknowledged += killed(folder, number, draw)
        show(number + 1)
    return judged(folder, acknowledged)


def shown(rounds: int) -> Callable[[int], None]:
    """A bar on a terminal, otherwise a line now and then; without a thread, for we fork."""
    due, bar = 0.0, sys.stderr.isatty()

    def show(done: int) -> None:
        nonlocal due
        if time.monotonic() < due and done < rounds:
            return
        due = time.monotonic() + (_BAR_SECONDS if bar else _LINE_SECONDS)
        line = f"{done:,} of {rounds:,} killed"
        if bar:
            click.echo(f"\r[{'#' * (done * 40 // rounds):40}] {line}", err=True, nl=done == rounds)
        else:
            click.echo(line, err=True)

    return show


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=1_000, show_default=True)
@click.option("--seed", type=int, help="That of a run that is to be made again; else of chance.")
@click.option("--folder", type=click.Path(path_type=Path), help="Empty; else a temporary one.")
def main(rounds: int, seed: int | None, folder: Path | None) -> None:
    """Kill a process that decides, again and again, and count what was said."""
    seed = random.randrange(1 << 32) if seed is None else seed
    place = folder or Path(mkdtemp(prefix="penstock-gate-"))
    began = time.monotonic()
    judgement = run(place, rounds, seed, shown(rounds))
    seconds = time.monotonic() - began
    click.echo(f"{rounds:,} kills in {seconds:,.0f} s: {judgement}")
    if not judgement.good:
        click.echo(f"seed {seed}; {place} is as it was left", err=True)
        sys.exit(1)
    if folder is None:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
