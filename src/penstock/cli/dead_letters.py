"""`penstock dead-letters`: what projections could not take, and what becomes of it."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from penstock.cli.listing import echo_rows
from penstock.cli.operator import data_option, tell

if TYPE_CHECKING:
    from penstock.cli.remote import Operating
    from penstock.core.listed import Letter

_ALL = 1_000_000
_SHOWN_MAX = 20
_AT_ONCE_MAX = 10_000


@click.group("dead-letters")
def dead_letters() -> None:
    """Records that a projection left out: see, retry, drop them."""


@dead_letters.command("list")
@click.argument("projection", default="")
@click.option("--limit", default=100, show_default=True, help="List at most so many.")
@data_option
def list_letters(projection: str, limit: int, data: str | None) -> None:
    """List them, of one PROJECTION or of all."""
    from penstock.cli.remote import operations  # noqa: PLC0415 - heavy

    with operations(data) as operating:
        letters = operating.dead_letters(projection, limit)
    if not letters:
        click.echo("no dead letters")
        return
    _echo(letters)


@dead_letters.command()
@click.argument("projection")
@click.argument("offset", type=int)
@click.option("--partition", default=0, show_default=True)
@data_option
def show(projection: str, offset: int, partition: int, data: str | None) -> None:
    """Show one with its reason and its record."""
    from penstock.cli.remote import operations  # noqa: PLC0415 - heavy

    with operations(data) as operating:
        letter = operating.show_dead_letter(projection, partition, offset)
    click.echo(f"projection  {letter.projection}")
    click.echo(f"record      {letter.topic}/{letter.partition}/{letter.offset}")
    click.echo(f"since       {_at(letter)}")
    click.echo(f"code        {letter.code}")
    click.echo(f"reason      {letter.reason}")
    click.echo(f"record      {letter.record}")


@dead_letters.command()
@click.argument("projection")
@click.argument("offsets", type=int, nargs=-1)
@click.option("--all", "every", is_flag=True, help="Retry all of the projection.")
@click.option("--partition", default=0, show_default=True)
@data_option
def retry(
    projection: str, offsets: tuple[int, ...], partition: int, data: str | None, *, every: bool
) -> None:
    """Project them again; each that succeeds leaves the dead letters."""
    from penstock.cli.remote import operations  # noqa: PLC0415 - heavy

    _check_named(offsets, every=every)
    with operations(data) as operating:
        letters = _named(operating, projection, offsets, partition, every=every)
        _each("retry", operating.retry_dead_letter, letters)


@dead_letters.command()
@click.argument("projection")
@click.argument("offsets", type=int, nargs=-1)
@click.option("--all", "every", is_flag=True, help="Drop all of the projection.")
@click.option("--partition", default=0, show_default=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_option
def drop(
    projection: str,
    offsets: tuple[int, ...],
    partition: int,
    data: str | None,
    *,
    every: bool,
    yes: bool,
) -> None:
    """Forget them, once seen; the log keeps the records."""
    from penstock.cli.remote import operations  # noqa: PLC0415 - heavy

    _check_named(offsets, every=every)
    with operations(data) as operating:
        letters = _named(operating, projection, offsets, partition, every=every)
        if not letters:
            click.echo("no dead letters")
            return
        _echo(letters[:_SHOWN_MAX])
        if more := len(letters[_SHOWN_MAX:]):
            click.echo(f"and {more:,} more")
        if not yes:
            which = "this one" if len(letters) == 1 else f"these {len(letters):,}"
            click.confirm(f"Drop {which} for good? The log keeps the records.", abort=True)
        _each("drop", operating.drop_dead_letter, letters)


def _numbers(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> list[int]:
    """Offsets, and ranges of them with both ends: `7`, `10-12`."""
    del context, parameter
    numbers: list[int] = []
    for text in given:
        first, dash, last = text.partition("-")
        if not (first.isdecimal() and (last.isdecimal() if dash else True)):
            raise click.BadParameter(f"{text} is no offset, and no range like 10-12")
        named = range(int(first), int(last if dash else first) + 1)
        if not named:
            raise click.BadParameter(f"{text} ends before it starts; say {last}-{first}")
        if named.stop - named.start + len(numbers) > _AT_ONCE_MAX:
            raise click.BadParameter(f"{text}: at most {_AT_ONCE_MAX:,} records at once")
        numbers += named
    return numbers


@dead_letters.command("give-up")
@click.argument("projection")
@click.argument("offsets", nargs=-1, required=True, callback=_numbers)
@click.option("--partition", default=0, show_default=True)
@data_option
def give_up(projection: str, offsets: list[int], partition: int, data: str | None) -> None:
    """Leave records out that did harm, and rebuild without them.

    For what did harm, such as an event from the future. The log keeps the records.
    """
    _rebuilt("give_up", projection, offsets, partition, data)


@dead_letters.command("take-back")
@click.argument("projection")
@click.argument("offsets", nargs=-1, required=True, callback=_numbers)
@click.option("--partition", default=0, show_default=True)
@data_option
def take_back(projection: str, offsets: list[int], partition: int, data: str | None) -> None:
    """Rebuild with records that were given up."""
    _rebuilt("take_back", projection, offsets, partition, data)


def _rebuilt(
    verb: str, projection: str, offsets: list[int], partition: int, data: str | None
) -> None:
    from penstock.cli.progress import Bar  # noqa: PLC0415 - heavy
    from penstock.cli.remote import operations  # noqa: PLC0415 - heavy

    with operations(data) as operating:
        act = operating.give_up if verb == "give_up" else operating.take_back
        for letter in act(projection, partition, offsets):
            click.echo(f"{letter.topic}/{letter.partition}/{letter.offset} {letter.record}")
        with Bar(f"rebuilding {projection}", "records") as bar:
            rebuilt = operating.rebuild(projection, bar.move, from_scratch=True, dry_run=False)
    tell(rebuilt)


def _check_named(offsets: tuple[int, ...], *, every: bool) -> None:
    if bool(offsets) == every:
        raise click.UsageError("name offsets, or say --all")


def _named(
    operating: "Operating",
    projection: str,
    offsets: tuple[int, ...],
    partition: int,
    *,
    every: bool,
) -> "list[Letter]":
    """Those that are meant, each of which is there: nothing is done before."""
    if every:
        return operating.dead_letters(projection, _ALL)
    return [operating.show_dead_letter(projection, partition, offset) for offset in offsets]


def _each(verb: str, act: "Callable[[str, int, int], Letter]", letters: "Sequence[Letter]") -> None:
    from penstock.core.errors import PenstockError  # noqa: PLC0415 - heavy

    failed = 0
    for letter in letters:
        try:
            act(letter.projection, letter.partition, letter.offset)
        except PenstockError as error:
            failed += 1
            name = f"{letter.projection}/{letter.partition}/{letter.offset}"
            click.echo(f"{name}: {error}", err=True)
    click.echo(f"{verb}: {len(letters) - failed} done, {failed} failed")
    if failed:
        raise SystemExit(1)


def _echo(letters: "Sequence[Letter]") -> None:
    rows = [
        (letter.projection, str(letter.partition), str(letter.offset),
         str(letter.next - letter.offset), _at(letter), letter.code, letter.reason)
        for letter in letters
    ]  # fmt: skip
    head = ("projection", "partition", "offset", "records", "since", "code", "reason")
    echo_rows(head, rows)


def _at(letter: "Letter") -> str:
    return datetime.fromtimestamp(letter.at_ms / 1000, UTC).isoformat(timespec="seconds")
