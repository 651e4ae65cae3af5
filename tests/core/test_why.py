"""Why something is known of a key: its state, what waits for it, and the records that made it."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from penstock.cli import remote
from penstock.cli.why import why as command
from penstock.core.errors import Rejected
from penstock.core.events.shown import shown
from penstock.core.projection.why import Asked, Why, why
from support import notes
from support.alarms import Set, Timed, fold
from support.carried import Carried
from support.logs import add


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Timed]:
    with closing(Timed(tmp_path)) as opened:
        yield opened


def test_of_a_fold_the_state_what_waits_and_what_made_it(
    bench: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    folding, now = fold(), bench.clock.ms
    bench.say(folding, Set("a", "x", now - 5), Set("b", "x", 1), Set("a", "y", now + 60_000))
    add(bench.log, b"?", topic=folding.topic.name)
    bench.settle(bench.owner(folding))
    moves: list[tuple[int, int]] = []

    def asked(key: str, limit: int = 20) -> Why:
        about = Asked(folding.name, key, "default", limit)
        return why(folding, about, bench.stores, bench.log, lambda *at: moves.append(at))

    found = asked("a")
    assert msgspec.json.decode(found.state) == {"rung": [["x", now - 5]]}
    assert [(one.name, one.at_ms, one.job) for one in found.waits] == [("y", now + 60_000, "")]
    events = [msgspec.json.decode(record.event) for record in found.records]
    assert [(event["type"], event["name"]) for event in events] == [
        ("set/1", "x"), ("set/1", "y"), ("elapsed/1", "x"),
    ]  # fmt: skip
    assert events[-1]["key"] == "a", "no base64 of it"
    assert [record.offset for record in found.records] == [0, 2, 5]
    assert (found.earlier, found.start) == (0, {})
    assert moves[-1] == (6, 6)
    assert [len(asked("a", 1).records), asked("a", 1).earlier] == [1, 2]
    assert (asked("nobody").state, asked("nobody").records) == ("", [])

    class Ours:
        def why(self, about: Asked, progress: object) -> Why:
            del progress
            return asked(about.key, about.limit)

    @contextmanager
    def ours(data: str | None) -> Iterator[Ours]:
        del data
        yield Ours()

    monkeypatch.setattr(remote, "operations", ours)
    told = CliRunner().invoke(command, [folding.name, "a", "--limit", "2"]).output
    assert 'state    {"rung":[["x",' in told
    assert "waits    y, a timer, until 2" in told
    assert "records  1 before these" in told
    assert "0/5" in told
    told = CliRunner().invoke(command, [folding.name, "nobody"]).output
    assert "state    nothing is known of it" in told
    assert "records  none that the log has; keys are spelled as 'a'" in told


def test_of_an_index_how_many_entries_and_of_a_table_where_it_is_said(tmp_path: Path) -> None:
    carried = Carried(tmp_path)
    add(carried.log, *(notes.codec.encode(notes.Noted(n, "ab"[n % 2])) for n in range(10)))
    add(carried.log, notes.codec.encode(notes.Noted(11, notes.POISON)))
    carried.carry(notes.index)
    log, stores = carried.log, carried.stores
    found = why(notes.index, Asked("", "a", "default", 2), stores, log, lambda *_: None)
    assert (found.state, found.earlier) == ("5 entries", 3)
    assert [msgspec.json.decode(one.event)["number"] for one in found.records] == [6, 8]
    with pytest.raises(Rejected, match=r"`penstock events tests.events --from NUMBER`"):
        why(notes.table, Asked("", "a", "default", 2), stores, log, lambda *_: None)
    carried.close()


def test_bytes_are_shown_as_text_where_they_are_text_and_nothing_else_is_another() -> None:
    class Held(msgspec.Struct, array_like=True):
        key: bytes
        more: dict[bytes, list[bytes]]
        at: tuple[int, float, None, str]

    held = Held("ключ".encode(), {b"a": [b"b", b"\xff"], b"\xff": []}, (1, 0.5, None, "c"))
    told = msgspec.json.decode(msgspec.json.encode(shown(held)))
    assert told["key"] == "ключ"
    assert told["more"] == {"a": ["b", "/w=="], "/w==": []}
    assert told["at"] == [1, 0.5, None, "c"]
