"""What clients are told of each operation; it is shown at `/docs` of the server."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from penstock.core.interface import Answer, Body, Interface, Parameter
from wallet.events import Stated
from wallet.ingest import Confirmation, Id, Purchase, TopUp
from wallet.receipts import Sending


class Told(msgspec.Struct):
    """What became of a payment."""

    payment: str
    status: Literal["credited", "held", "declined", "paid", "expired", "reused", "unknown"]
    available: Annotated[int, Meta(description="What the account may spend, in cents.")]


class Balance(msgspec.Struct):
    balance: int
    held: Annotated[int, Meta(description="Of the balance, by open purchases.")]
    available: int


class Open(msgspec.Struct):
    open: Annotated[int, Meta(description="What open purchases come to, in cents.")]


def _named(name: str, example: str, meaning: str) -> Parameter:
    return Parameter(
        name=name, place="path", shape=Id, meaning=meaning, required=True, example=(example,)
    )


_ACCOUNT = _named("account", "ann", "Whose; there is one as soon as something happens to it.")
_PAYMENT = _named("payment", "p-1", "Which purchase.")
_PENDING = Answer(status=202, meaning="It is safe, and not decided yet: ask again, by sending it.")
_CONFLICT = Answer(status=409, meaning="It has ended otherwise, or is another payment.", shape=Told)
_BAD = ("bad_field",)


def _answers(shape: Any, meaning: str) -> Interface:
    return Interface(
        parameters=(_ACCOUNT,), answers=(Answer(meaning=meaning, shape=shape),), errors=_BAD
    )


TOP_UP = Interface(
    parameters=(_ACCOUNT,),
    takes=Body(shape=TopUp, meaning="How much.", example=b'{"payment":"t-1","cents":5000}'),
    answers=(Answer(meaning="It is there.", shape=Told), _PENDING, _CONFLICT),
    errors=_BAD,
)
PURCHASE = Interface(
    parameters=(_ACCOUNT,),
    takes=Body(
        shape=Purchase,
        meaning="What.",
        example=b'{"payment":"p-1","shop":"books","cents":1999}',
    ),
    answers=(
        Answer(meaning="The money is held.", shape=Told),
        _PENDING,
        Answer(status=402, meaning="There is not enough.", shape=Told),
        _CONFLICT,
    ),
    errors=("bad_field", "shop_full"),
)
CONFIRM = Interface(
    parameters=(_ACCOUNT, _PAYMENT),
    takes=Body(shape=Confirmation, required=False, meaning="Nothing, or an empty object."),
    answers=(Answer(meaning="It is paid.", shape=Told), _PENDING, _CONFLICT),
    errors=_BAD,
)
ACCOUNT = _answers(Balance, "What there is, in cents.")
STATEMENTS = _answers(list[Stated], "The newest first.")
RECEIPT = Interface(
    parameters=(_ACCOUNT, _PAYMENT),
    answers=(Answer(meaning="What became of it.", shape=Sending),),
    errors=_BAD,
)
TOTAL = Interface(answers=(Answer(meaning="In cents.", shape=Balance),))
SHOP = Interface(
    parameters=(_named("shop", "books", "Which."),),
    answers=(Answer(meaning="What waits to be confirmed.", shape=Open),),
    errors=_BAD,
)
