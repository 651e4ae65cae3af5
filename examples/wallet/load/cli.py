import sys
from contextlib import ExitStack

import click

from penstock.load.chaos import ServerNotReady
from penstock.load.driving import TARGET_URL
from penstock.load.plans import Options
from wallet.load.beforehand import Unfit
from wallet.load.oracle import account
from wallet.load.receiver import receiving
from wallet.load.run import Figures, Given, run


@click.command()
@click.option("--url", default=TARGET_URL, show_default=True, help="Address of the server.")
@click.option("--seed", default=1, show_default=True, help="Chooses what happens.")
@click.option("--accounts", default=40, show_default=True, help="How many.")
@click.option("--steps", default=25, show_default=True, help="Of each account.")
@click.option("--receiver-port", default=8089, show_default=True, help="Where receipts go.")
@click.option("--statements", is_flag=True, help="Wait for statements; they are made often.")
@click.option("--serve", metavar="COMMAND", help="Start the server by this, and kill it.")
@click.option("--kills", default=0, show_default=True, help="How often it is killed meanwhile.")
@click.option("--again", is_flag=True, help="It was all sent before: only look at what is there.")
def command(
    *,
    url: str,
    seed: int,
    accounts: int,
    steps: int,
    receiver_port: int,
    statements: bool,
    serve: str | None,
    kills: int,
    again: bool,
) -> None:
    """Let accounts be topped up, buy and be stated, and know each of them to the cent.

    It needs an empty server to itself, which may reach the receiver: PENSTOCK_REACH_NETWORKS is
    127.0.0.0/8 and PENSTOCK_REACH_PORTS the receiver's port. The exit status is 1 unless every
    answer, balance, receipt and statement is as it has to be.
    """
    if kills and not serve:
        raise click.UsageError("--kills needs --serve, to start again what was killed")
    receiver_url = f"http://127.0.0.1:{receiver_port}"
    made = [account(seed, number, steps, receiver_url) for number in range(accounts)]
    given = Given(Options(url=url, serve=serve), made, kills, statements)
    try:
        with ExitStack() as opened:
            receiver = None if again else opened.enter_context(receiving(receiver_port))
            figures = run(given, receiver)
    except (OSError, ServerNotReady, Unfit, ValueError) as error:
        raise click.ClickException(str(error)) from error
    for wrong in figures.wrong:
        click.echo(wrong, err=True)
    click.echo(line(figures))
    if figures.wrong:
        sys.exit(1)


def line(figures: Figures) -> str:
    verdict = "NOT right" if figures.wrong else "right to the cent"
    return (
        f"wallet: {verdict}; {figures.requests} requests, {figures.decisions} decisions, "
        f"{figures.receipts} receipts and {figures.given_up} given up, {figures.balances} "
        f"balances, {figures.statements} statements, {figures.kills} kills"
    )
