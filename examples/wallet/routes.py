"""What can be asked."""

from typing import cast

from penstock.core.edge import Received, Response
from penstock.core.manifest import Context
from penstock.core.warehouse import sql
from wallet.accounts import accounts
from wallet.ingest import account_of, id_of
from wallet.receipts import receipts
from wallet.shops import shops
from wallet.statements import KEPT, statements


async def account(received: Received, context: Context) -> Response:
    found = await context.get(accounts, account_of(received).encode())
    told = {"balance": found.balance, "held": found.held, "available": found.available}
    return Response.json(told)


async def total(received: Received, context: Context) -> Response:
    """By the mirror, which is a moment behind."""
    del received
    rows = await context.query(sql.queries(__package__)["total"], {})
    [(balance, held)] = cast("list[tuple[int, int]]", rows)
    return Response.json({"balance": balance, "held": held, "available": balance - held})


async def receipt(received: Received, context: Context) -> Response:
    key = f"{account_of(received)}/{id_of(received.parameters[1], 'payment')}"
    found = await context.get(receipts, key.encode())
    return Response.json({"status": found.status, "attempts": found.attempts})


async def shop(received: Received, context: Context) -> Response:
    found = await context.get(shops, id_of(received.parameters[0], "shop").encode())
    return Response.json({"open": found.open})


async def stated(received: Received, context: Context) -> Response:
    """The newest first."""
    key = account_of(received).encode()
    [history] = await context.first(statements.space, [key], KEPT)
    return Response.json_bytes(b"[" + b",".join(value for _, value in history) + b"]")
