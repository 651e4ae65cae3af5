"""Receipts: sent to where the purchase said, tried again, and given up with a reason."""

import hmac
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from penstock.core.events import Event
from penstock.core.projection import Done, Due, Failed, Fold, Job, Record, Step
from penstock.core.projection.flush import Flush
from penstock.core.projection.job import Permanent, Retry
from penstock.core.reach import Reach
from wallet.events import RECEIPTS, Paid


class Receipt(msgspec.Struct, frozen=True):
    """What the job is to do, and the body of the webhook."""

    account: str
    payment: str
    shop: str
    cents: int
    to: str


class Sending(msgspec.Struct, frozen=True, array_like=True):
    status: Literal["none", "waiting", "sent", "given up"] = "none"
    attempts: int = 0


def step(sending: Sending, record: Record[Any]) -> Step[Sending]:
    match record.event:
        case Paid(account, payment, shop, cents, to):
            receipt = Receipt(account, payment, shop, cents, to)
            return Step(Sending("waiting"), due=[Due("send", record.at_ms, receipt)])
        case Done(attempts=attempts):
            return Step(Sending("sent", attempts))
        case Failed(attempts=attempts):
            return Step(Sending("given up", attempts))
    return Step(sending)


async def send(receipt: Receipt, reach: Reach) -> Sequence[Event]:
    """At least once: so it says which receipt it is, in a header that receivers know."""
    name = f"{receipt.account}/{receipt.payment}"
    headers = [("Content-Type", "application/json"), ("Idempotency-Key", name)]
    body = msgspec.json.encode(receipt)
    if secret := reach.settings.receipt_secret:
        headers.append(("Signature", hmac.digest(secret.encode(), body, "sha256").hex()))
    answer = await reach.http.request("POST", receipt.to, headers=headers, body=body)
    if answer.status in (400, 404, 410):
        raise Permanent(f"the receiver does not want it: {answer.status}")
    if answer.status >= 300:
        raise ConnectionError(f"the receiver answers {answer.status}")
    return []


receipts: Fold[Any, Sending] = Fold(
    space="wallet.receipts",
    topic=RECEIPTS,
    state=Sending,
    step=step,
    jobs=(
        Job(name="wallet.receipt", work=Receipt, run=send, retry=Retry(attempts=8, seconds=1.0)),
    ),
    flush=Flush.immediate(),
)
