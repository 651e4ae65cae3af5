"""What clients share: places and bytes."""

import resource
import time
from collections.abc import Callable
from time import perf_counter

import pytest

from penstock.core.edge.connections import NOBODY_SECONDS, Connections
from penstock.core.settings import Settings

FAR_SECONDS = 3_600.0


def just_now() -> float:
    """However long the machine stands still meanwhile, it is not long ago."""
    return perf_counter() + FAR_SECONDS


class Someone:
    """A guest that notes what becomes of it."""

    def __init__(self, connections: Connections, peer: str = "a", idle_since: float = 0.0) -> None:
        self.connections = connections
        self.peer = peer
        self.idle_since = idle_since
        self.works = False
        self.requests = 0
        self.sent = False
        self.evicted = False
        self.held = 0

    def hold(self, size: int) -> None:
        before, self.held = self.held, size
        self.connections.hold(self, before, size)

    def evict(self) -> None:
        self.evicted = True
        self.hold(0)
        self.connections.leave(self)

    def has_sent(self) -> bool:
        return self.sent

    def sweep(self, now: float) -> bool:
        return now > 0

    def last_call(self) -> None: ...

    def shutdown(self) -> None: ...

    def hang_up(self) -> None: ...

    def abort(self) -> None: ...


def on(settings: Settings, work: Callable[[Connections], None]) -> None:
    connections = Connections(settings)
    connections.open()
    work(connections)


def test_where_there_is_no_place_the_idlest_makes_it() -> None:
    def work(connections: Connections) -> None:
        guests = [Someone(connections, f"{n}", 10.0 + n) for n in range(4)]
        guests[0].works = True
        assert all(connections.enter(guest) for guest in guests)
        assert connections.enter(Someone(connections, "late"))
        assert [guest.evicted for guest in guests] == [False, True, False, False]

    on(Settings(connections_max=4), work)


def test_nobody_who_is_worked_for_is_sent_away() -> None:
    def work(connections: Connections) -> None:
        guests = [Someone(connections, f"{n}") for n in range(4)]
        for guest in guests:
            guest.works = True
            assert connections.enter(guest)
        few = Someone(connections, "few")
        few.works = True
        assert connections.enter(few)
        late = Someone(connections, "late")
        assert not connections.enter(late)
        connections.leave(late)
        assert not any(guest.evicted for guest in guests)
        assert len(connections.present) == 5

    on(Settings(connections_max=4), work)


def test_who_asks_again_and_again_is_not_idle_between_two_questions() -> None:
    def work(connections: Connections) -> None:
        regular, silent = Someone(connections, "a", just_now()), Someone(connections, "b", 10.0)
        regular.requests = 100
        assert connections.enter(regular)
        assert connections.enter(silent)
        assert connections.enter(Someone(connections, "late"))
        assert (regular.evicted, silent.evicted) == (False, True)

    on(Settings(connections_max=2), work)


def test_who_has_just_come_is_not_sent_away_for_who_comes_next() -> None:
    """Nor is one who asks again and again, as there will be one soon who does not."""

    def work(connections: Connections) -> None:
        regular, new = Someone(connections, "a", just_now()), Someone(connections, "b", just_now())
        regular.requests = 100
        assert connections.enter(regular)
        assert connections.enter(new)
        assert not connections.make_room()
        assert (regular.evicted, new.evicted) == (False, False)
        new.idle_since -= FAR_SECONDS + 1.0
        time.sleep(2 * NOBODY_SECONDS)
        assert connections.make_room()
        assert (regular.evicted, new.evicted) == (False, True)

    on(Settings(connections_max=2), work)


def test_whose_request_waits_to_be_read_is_not_idle() -> None:
    def work(connections: Connections) -> None:
        guests = [Someone(connections, f"{n}", 10.0 + n) for n in range(4)]
        guests[0].sent = guests[1].sent = True
        assert all(connections.enter(guest) for guest in guests)
        assert connections.enter(Someone(connections, "late"))
        assert [guest.evicted for guest in guests] == [False, False, True, False]

    on(Settings(connections_max=4), work)


def test_room_is_made_by_the_address_that_has_most() -> None:
    def work(connections: Connections) -> None:
        one = Someone(connections, "one", 1.0)
        many = [Someone(connections, "many", 10.0 + n) for n in range(3)]
        assert all(connections.enter(guest) for guest in (one, *many))
        assert connections.enter(Someone(connections, "late"))
        assert [guest.evicted for guest in (one, *many)] == [False, True, False, False]

    on(Settings(connections_max=4), work)


def test_while_others_are_at_work_one_who_may_ask_any_moment_stays() -> None:
    def work(connections: Connections) -> None:
        few = Someone(connections, "few", just_now())
        few.requests = 1
        others = [Someone(connections, "many" if n % 2 else "more") for n in range(7)]
        for guest in (few, *others):
            guest.works = guest is not few
            assert connections.enter(guest)
        assert connections.make_room()  # at the cost of nobody: a few more are let in
        assert not any(guest.evicted for guest in (few, *others))

    on(Settings(connections_max=8), work)


def test_where_places_are_few_they_are_wanted_back_from_those_who_have_many() -> None:
    def work(connections: Connections) -> None:
        for n in range(5):
            assert connections.enter(Someone(connections, "many", 10.0 + n))
        assert connections.enter(Someone(connections, "one"))
        assert not connections.wants_back("many", 1)
        more = [Someone(connections, f"{n}") for n in range(3)]
        assert all(map(connections.enter, more))
        assert connections.wants_back("many", 1)
        assert not connections.wants_back("many", 100), "who asks again and again keeps its own"
        assert not connections.wants_back("one", 1)
        connections.leave(more[0])
        assert not connections.wants_back("many", 1)

    on(Settings(connections_max=12), work)


def test_an_address_has_enough_when_many_of_its_connections_wait_for_it() -> None:
    def work(connections: Connections) -> None:
        few = [Someone(connections, "few") for _ in range(7)]
        many = [Someone(connections, "many") for _ in range(8)]
        regular = [Someone(connections, "regular", just_now()) for _ in range(9)]
        regular[0].requests = 100
        for guest in (*few, *many, *regular):
            assert connections.enter(guest)
        assert not connections.has_enough("many"), "there are places"
        connections.is_crowded = True
        enough = [
            peer for peer in ("few", "many", "regular", "nobody") if connections.has_enough(peer)
        ]
        assert enough == ["many"]
        many[0].sent = True
        assert not connections.has_enough("many"), "its request has come"
        many[0].sent, many[1].works = False, True
        assert not connections.has_enough("many")
        many[1].works = False
        regular[0].idle_since = 0.0
        assert connections.has_enough("regular"), "it was"
        regular[0].works = True
        assert not connections.has_enough("regular")
        more = [Someone(connections, "more") for _ in range(50)]
        assert all(map(connections.enter, more))
        connections.is_crowded = True
        assert not connections.has_enough("many"), "half of an equal part is more"
        assert connections.has_enough("more")

    on(Settings(connections_max=1_000), work)


@pytest.mark.parametrize("counts", [True, False])
def test_an_address_has_half_of_all_places_unless_others_come_through_it(counts: bool) -> None:
    def work(connections: Connections) -> None:
        guests = [Someone(connections, "greedy", 10.0 + n) for n in range(6)]
        other = Someone(connections, "other", 1.0)
        assert connections.enter(other)
        assert all(connections.enter(guest, counts=counts) for guest in guests)
        assert [guest.evicted for guest in guests] == [counts] * 2 + [False] * 4
        assert not other.evicted

    on(Settings(connections_max=8), work)


def test_the_oldest_who_waits_for_its_client_makes_room_for_bytes() -> None:
    def work(connections: Connections) -> None:
        working, oldest, newest = (Someone(connections) for _ in range(3))
        working.works = True
        for guest in (working, oldest, newest):
            connections.enter(guest)
            guest.hold(30)
        newest.hold(60)
        assert (working.evicted, oldest.evicted, newest.evicted) == (False, True, False)
        newest.hold(90)
        assert newest.evicted
        assert (connections.held, working.evicted) == (30, False)

    on(Settings(arriving_bytes_max=100), work)


def test_the_stores_keep_open_files_whatever_is_wanted() -> None:
    """Reliability 43."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)

    def work(connections: Connections) -> None:
        assert files // 2 <= connections.connections_max < files

    on(Settings(connections_max=1_000_000_000), work)
