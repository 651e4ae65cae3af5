"""A small application of the tests' own in which people edit something: shelves, and what is on
them.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.core.edge.access import Access, Keys
from penstock.core.entities import Entity
from penstock.core.manifest import Manifest

Name = Annotated[
    str, Meta(title="Name", description="As people call it.", min_length=1, max_length=200)
]

Code = Annotated[
    str, Meta(title="Code", description="As it is written on it.", pattern="^[a-z0-9-]{1,64}$")
]


class Shelf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where things lie."""

    name: Name
    code: Code
    height: Annotated[int, Meta(title="Height", description="Above the floor, in centimetres.")] = (
        100
    )
    load: Annotated[float, Meta(title="Load", description="What it bears, in kilograms.", ge=0)] = (
        50.0
    )
    lit: Annotated[bool, Meta(title="Lit", description="Whether it has a lamp.")] = False
    room: Annotated[
        Literal["front", "back"], Meta(title="Room", description="Where it stands.")
    ] = "front"


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What lies there."""

    name: Name
    shelf: Annotated[str, Meta(title="Shelf", description="Where it lies.")]
    beside: Annotated[
        tuple[str, ...],
        Meta(title="Beside", description="Items that are to lie next to it.", max_length=10),
    ] = ()
    barcode: Annotated[
        str | None, Meta(title="Barcode", description="What a scanner reads, if there is one.")
    ] = None


def even(height: int) -> str:
    return "shelves have holes every two centimetres; take an even number" if height % 2 else ""


def shelf(access: Access = "anyone") -> Entity[Shelf]:
    return Entity(
        kind="shelf",
        model=Shelf,
        path="/api/shelves",
        prefix="shf",
        summary="Shelves of the shop.",
        example=Shelf("Left of the door", "a-1"),
        unique=("code",),
        checks={"height": even},
        access=access,
    )


SHELF = shelf()
ITEM = Entity(
    kind="item",
    model=Item,
    path="/api/items",
    prefix="itm",
    summary="What the shop sells.",
    example=Item("Kettle", "shf_0123456789abcdef01234567"),
    unique=("barcode",),
    uses={"shelf": "shelf", "beside": "item"},
)


class Settings(msgspec.Struct, frozen=True):
    keys: str = ""


def make(access: Access = "anyone") -> Manifest:
    return Manifest(
        name="shop",
        summary="A shop.",
        settings=Settings,
        topics=(),
        entities=(shelf(access), ITEM),
        package=__package__,
    )


manifest = make()
keyed = make(Keys(of=lambda settings: settings.keys))
