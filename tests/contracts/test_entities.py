"""What entities promise, in whichever database they are."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from penstock.core.database import Database
from penstock.core.editing.keeping import Keeping
from penstock.core.entities import Entity, Kept, Wanted
from penstock.core.errors import (
    BadField,
    Conflict,
    InUse,
    KeyReused,
    NotFound,
    Taken,
)
from support.clock import MovedClock
from support.databases import by, codes, keeping, shelves
from support.shop import ITEM, SHELF, Code, Item, Name, Shelf

# -- one entity -----------------------------------------------------------------------------------


def test_what_was_made_is_read_as_it_was_made(shop: Keeping, clock: MovedClock) -> None:
    shelf = Shelf("Łódź 🪵 שלום \\ \" ' % \n", "a-1", height=98, load=0.1, lit=True, room="back")
    made = shop.create(SHELF, shelf, by(id_="0" * 24))
    assert made == Kept(
        f"shf_{'0' * 24}", 1, archived=False, created_ms=clock.ms, updated_ms=clock.ms,
        body=msgspec.to_builtins(shelf),
    )  # fmt: skip
    assert shop.get(SHELF, made.id) == made
    assert shop.listed(SHELF, Wanted(filters={"name": shelf.name})) == ([made], 1)


def test_each_change_makes_a_revision_and_none_makes_none(shop: Keeping, clock: MovedClock) -> None:
    [shelf] = shelves(shop, "a")
    clock.pass_hours(1)
    assert shop.replace(SHELF, shelf.id, Shelf("A", "a"), None, by()) == shelf
    saved = shop.replace(SHELF, shelf.id, Shelf("B", "a"), 1, by())
    assert (saved.revision, saved.created_ms) == (2, shelf.created_ms)
    assert saved.updated_ms == clock.ms
    assert shop.archive(SHELF, shelf.id, 2, by(), archived=True).revision == 3
    assert shop.archive(SHELF, shelf.id, None, by(), archived=True).revision == 3
    assert shop.get(SHELF, shelf.id).archived


def test_who_changes_what_is_another_by_now_is_told(shop: Keeping) -> None:
    [shelf] = shelves(shop, "a")
    shop.replace(SHELF, shelf.id, Shelf("B", "a"), 1, by())
    for change in (
        lambda: shop.replace(SHELF, shelf.id, Shelf("C", "a"), 1, by()),
        lambda: shop.archive(SHELF, shelf.id, 1, by(), archived=True),
        lambda: shop.remove(SHELF, shelf.id, 1, by()),
    ):
        with pytest.raises(Conflict, match="at revision 2 by now, and not 1"):
            change()
    assert shop.get(SHELF, shelf.id).body["name"] == "B"


def test_of_many_who_change_the_same_revision_one_does(shop: Keeping) -> None:
    """Reliability 15."""
    [shelf] = shelves(shop, "a")
    begin = threading.Barrier(8)

    def save(number: int) -> bool:
        begin.wait()
        try:
            shop.replace(SHELF, shelf.id, Shelf(f"{number}", "a"), 1, by(f"{number}"))
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(save, range(8))) == 1
    entries, count = shop.history(SHELF, shelf.id, 10, 0)
    assert count == 2
    assert shop.get(SHELF, shelf.id).body["name"] == entries[0].who


def test_a_unique_value_is_taken_until_its_entity_has_another_or_is_removed(
    shop: Keeping, database: Database, clock: MovedClock
) -> None:
    a, _ = shelves(shop, "a", "b")
    with pytest.raises(Taken, match="code is that of shf_") as taken:
        shelves(shop, "a")
    assert taken.value.field == "code"
    with pytest.raises(Taken):
        shop.replace(SHELF, a.id, Shelf("A", "b"), None, by())
    shop.archive(SHELF, a.id, None, by(), archived=True)
    with pytest.raises(Taken):
        shelves(shop, "a")
    shop.replace(SHELF, a.id, Shelf("A", "c"), None, by())
    [again] = shelves(shop, "a")
    shop.remove(SHELF, again.id, None, by())
    shelves(shop, "a")
    shelves(keeping(database, clock, "other"), "a")


def test_null_is_no_value_and_a_long_one_is_as_unique_as_a_short_one(shop: Keeping) -> None:
    [shelf] = shelves(shop, "a")
    for _ in range(2):
        shop.create(ITEM, Item("Kettle", shelf.id), by())
    long = Item("Kettle", shelf.id, barcode="x" * 10_000)
    shop.create(ITEM, long, by())
    with pytest.raises(Taken):
        shop.create(ITEM, long, by())


def test_of_many_who_want_a_unique_value_one_has_it(shop: Keeping) -> None:
    begin = threading.Barrier(6)

    def make(_: int) -> bool:
        begin.wait()
        try:
            shelves(shop, "a")
        except (Taken, Conflict):
            return False
        return True

    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(make, range(6))) == 1
    assert codes(shop) == ["a"]


def test_what_is_used_stays_and_its_users_are_named(shop: Keeping) -> None:
    [shelf] = shelves(shop, "a")
    items = [shop.create(ITEM, Item("Kettle", shelf.id), by()) for _ in range(12)]
    with pytest.raises(InUse, match=r"is used by item itm_.* and 2 more; archive it") as used:
        shop.remove(SHELF, shelf.id, None, by())
    assert str(used.value).count("itm_") == 10
    for item in items[1:]:
        shop.remove(ITEM, item.id, None, by())
    with pytest.raises(InUse, match=f"is used by item {items[0].id}; archive"):
        shop.remove(SHELF, shelf.id, None, by())
    shop.remove(ITEM, items[0].id, None, by())
    shop.remove(SHELF, shelf.id, None, by())
    with pytest.raises(NotFound):
        shop.get(SHELF, shelf.id)


def test_what_uses_itself_is_used_by_nobody(shop: Keeping) -> None:
    [shelf] = shelves(shop, "a")
    item = shop.create(ITEM, Item("Kettle", shelf.id), by())
    shop.replace(ITEM, item.id, Item("Kettle", shelf.id, (item.id,)), None, by())
    shop.remove(ITEM, item.id, None, by())
    shop.remove(SHELF, shelf.id, None, by())


def test_nothing_uses_what_is_not_there(
    shop: Keeping, database: Database, clock: MovedClock
) -> None:
    """Reliability 29."""
    [foreign] = shelves(keeping(database, clock, "other"), "a")
    for id_ in (foreign.id, "shf_no", "x" * 10_000):
        with pytest.raises(BadField, match="there is no shelf") as none:
            shop.create(ITEM, Item("Kettle", id_), by())
        assert none.value.field == "shelf"


def test_two_that_come_to_use_each_other_both_do(shop: Keeping) -> None:
    [shelf] = shelves(shop, "a")
    one, other = (shop.create(ITEM, Item("Kettle", shelf.id), by()) for _ in range(2))
    begin = threading.Barrier(2)

    def use(pair: tuple[Kept, Kept]) -> Kept:
        begin.wait()
        return shop.replace(ITEM, pair[0].id, Item("K", shelf.id, (pair[1].id,)), None, by())

    with ThreadPoolExecutor(2) as threads:
        saved = list(threads.map(use, [(one, other), (other, one)]))
    assert [kept.revision for kept in saved] == [2, 2]


def test_a_request_that_is_sent_again_makes_one_and_another_under_its_key_none(
    shop: Keeping,
) -> None:
    asked = by(id_="1" * 24, repeats=True)
    first = shop.create(SHELF, Shelf("A", "a"), asked)
    changed = shop.replace(SHELF, first.id, Shelf("B", "a"), None, by())
    assert shop.create(SHELF, Shelf("A", "a"), asked) == changed
    with pytest.raises(KeyReused):
        shop.create(SHELF, Shelf("C", "c"), asked)
    assert codes(shop) == ["a"]


def test_projects_see_nothing_of_each_other(
    shop: Keeping, database: Database, clock: MovedClock
) -> None:
    """Reliability 29."""
    [shelf] = shelves(shop, "a")
    other = keeping(database, clock, "other")
    assert other.listed(SHELF, Wanted()) == ([], 0)
    for look in (
        lambda: other.get(SHELF, shelf.id),
        lambda: other.history(SHELF, shelf.id, 10, 0),
        lambda: other.remove(SHELF, shelf.id, None, by()),
        lambda: other.replace(SHELF, shelf.id, Shelf("B", "b"), None, by()),
    ):
        with pytest.raises(NotFound):
            look()


# -- lists ----------------------------------------------------------------------------------------


def test_a_list_is_filtered_by_what_fields_are(shop: Keeping) -> None:
    shelves(shop, "a", "b", height=40)
    shelves(shop, "c", lit=True, load=2.5)
    shelves(shop, "d", room="back", load=2)
    assert codes(shop, filters={"height": 40}) == ["a", "b"]
    assert codes(shop, filters={"height": 40, "code": "b"}) == ["b"]
    assert codes(shop, filters={"lit": True}) == ["c"]
    assert codes(shop, filters={"lit": False, "room": "front"}) == ["a", "b"]
    assert codes(shop, filters={"load": 2.5}) == ["c"]
    assert codes(shop, filters={"load": 2.0}) == ["d"]
    assert codes(shop, filters={"code": "' OR 1=1 --"}) == []
    assert codes(shop, filters={"height": (1 << 63) - 1}) == []


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("code", ["B", "a", "b", "ä", "ż", "🪵"]),
        ("height", ["ä", "🪵", "b", "B", "ż", "a"]),
        ("lit", None),
        ("id", None),
        ("created_at", ["b", "B", "ä", "a", "🪵", "ż"]),
        ("load", None),
    ],
)
def test_a_list_is_in_the_same_order_on_every_database(
    shop: Keeping, clock: MovedClock, sort: str, order: Sequence[str] | None, descending: bool
) -> None:
    heights = {"b": 2, "B": 10, "ä": -4, "a": 1 << 40, "🪵": 0, "ż": 100}
    for number, (code, height) in enumerate(heights.items()):
        shelf = Shelf("A", code, height, load=float(number % 3), lit=number % 2 == 0)
        shop.create(SHELF, shelf, by(id_=f"{number:024}"))
        clock.ms += 1
    order = (
        order
        or {
            "lit": ["B", "a", "ż", "b", "ä", "🪵"],
            "id": list(heights),
            "load": ["b", "a", "B", "🪵", "ä", "ż"],
        }[sort]
    )
    found = codes(shop, sort=sort, descending=descending)
    assert found == (list(reversed(order)) if descending else list(order))


def test_what_is_null_comes_first_and_ties_are_in_the_order_of_ids(shop: Keeping) -> None:
    [shelf] = shelves(shop, "a")
    for number, barcode in enumerate(["2", None, "10", None]):
        shop.create(ITEM, Item("K", shelf.id, barcode=barcode), by(id_=f"{number:024}"))

    def found(*, descending: bool) -> list[str]:
        wanted = Wanted(sort="barcode", descending=descending)
        return [kept.id[-1] for kept in shop.listed(ITEM, wanted)[0]]

    assert found(descending=False) == ["1", "3", "2", "0"]
    assert found(descending=True) == ["0", "2", "3", "1"]


def test_pages_together_are_the_list(shop: Keeping) -> None:
    shelves(shop, *(f"{n}" for n in range(7)))
    pages = [codes(shop, limit=3, offset=offset) for offset in (0, 3, 6, 9)]
    assert pages == [["0", "1", "2"], ["3", "4", "5"], ["6"], []]
    assert shop.listed(SHELF, Wanted(limit=1))[1] == 7


def test_what_is_archived_is_in_no_list_that_does_not_ask_for_it(shop: Keeping) -> None:
    a, _ = shelves(shop, "a", "b")
    shop.archive(SHELF, a.id, None, by(), archived=True)
    assert codes(shop) == ["b"]
    assert codes(shop, archived=True) == ["a"]
    assert codes(shop, archived=None) == ["a", "b"]
    shop.archive(SHELF, a.id, None, by(), archived=False)
    assert codes(shop) == ["a", "b"]


class Older(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A shelf as a version before had it."""

    name: Name
    code: Code


OLDER = Entity(
    kind=SHELF.kind, model=Older, path=SHELF.path, prefix=SHELF.prefix, summary=SHELF.summary,
    example=Older("A", "a"), unique=SHELF.unique,
)  # fmt: skip


def test_what_was_saved_before_a_field_came_has_its_default(shop: Keeping) -> None:
    old = shop.create(OLDER, Older("A", "a"), by())
    shelves(shop, "b", height=40, lit=True, room="back")
    assert SHELF.whole(shop.get(SHELF, old.id).body)["height"] == 100
    assert codes(shop, filters={"height": 100, "lit": False, "room": "front"}) == ["a"]
    assert codes(shop, sort="height") == ["b", "a"]
    assert codes(shop, sort="room") == ["b", "a"]
