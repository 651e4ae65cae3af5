"""Whatever is damaged: a record is copied as it was written, or it is listed."""

import random
from contextlib import closing
from pathlib import Path

import pytest

from core.test_backup import TOPIC, Quiet, add, opened
from penstock.core.errors import Misconfigured
from penstock.core.folder import FolderLock
from penstock.core.log.backup import Unproven, create
from penstock.core.log.pace import Pace
from penstock.core.log.salvage import salvage
from penstock.core.log.sqlite import SqliteLog
from penstock.core.log.sqlite_reader import SqliteReader

PAGE = 4_096
BLOCKS = 600
OTHER = "tests.others"


def payloads(block: int) -> list[bytes]:
    """Of very different sizes: some blocks share a page, some need several."""
    size = 9_000 if block % 50 == 0 else 200
    return [b"%d/%d " % (block, n) + random.Random(block).randbytes(size) for n in range(3)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("sound")
    with closing(opened(folder)) as log:
        for block in range(BLOCKS):
            add(log, payloads(block))
        add(log, [b"alone"], OTHER)
    return (folder / "log.db").read_bytes()


EXPECTED = [payload for block in range(BLOCKS) for payload in payloads(block)]

DAMAGES = ("zeros", "noise", "half", "bits", "another's")


def damaged(page: bytes, how: str, chance: random.Random) -> bytes:
    match how:
        case "zeros":
            return bytes(PAGE)
        case "noise":
            return chance.randbytes(PAGE)
        case "half":
            return page[: PAGE // 2] + bytes(PAGE // 2)
        case "bits":
            return bytes(byte ^ (chance.random() < 0.01) << chance.randrange(8) for byte in page)
    return page[64:] + page[:64]


def read(log: SqliteLog, topic: str) -> dict[int, bytes]:
    with closing(log.reader()) as reader:
        batch = reader.read(topic, 0, 0, 100_000)
    return dict(zip(batch.offsets, batch.payloads, strict=True))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("damage", DAMAGES)
def test_every_record_is_as_it_was_or_is_listed(
    sound: bytes, tmp_path: Path, damage: str, seed: int
) -> None:
    """Reliability 3."""
    chance = random.Random(seed)
    content = bytearray(sound)
    pages = chance.sample(range(1, len(sound) // PAGE), chance.choice([1, 1, 5]))
    for page in pages:
        place = slice(page * PAGE, (page + 1) * PAGE)
        content[place] = damaged(bytes(content[place]), damage, chance)
    source, target = tmp_path / "data", tmp_path / "salvaged"
    source.mkdir()
    (source / "log.db").write_bytes(content)

    try:
        found = salvage(source / "log.db", target, Quiet)
    except Unproven:
        assert not (target / "log.db").exists()
        return
    finally:
        assert list(source.iterdir()) == [source / "log.db"]
        assert (source / "log.db").read_bytes() == content
    topics = {topic.name: topic for topic in found.topics}
    with closing(opened(target)) as log:
        for name, expected in ((TOPIC, EXPECTED), (OTHER, [b"alone"])):
            if name not in topics:
                assert any("whose own name" in what for what in found.lacking)
                continue
            topic, there = topics[name], read(log, name)
            assert topic.records == len(there)
            assert all(expected[number] == payload for number, payload in there.items())
            lost = {n for damage in topic.lost for n in range(damage.first, damage.next)}
            assert lost.isdisjoint(there)
            if topic.end_known:
                assert lost | there.keys() == set(range(len(expected)))
            add(log, [b"after"], name)
    assert {path.name for path in target.iterdir()} == {"log.db", "edge.lock"}


def test_one_page_in_the_middle_costs_no_more_than_what_was_on_it(
    sound: bytes, tmp_path: Path
) -> None:
    content = bytearray(sound)
    leaves = [at for at in range(0, len(sound), PAGE) if sound[at : at + 3] == b"\x0d\x00\x00"]
    at = leaves[len(leaves) // 2]
    content[at : at + PAGE] = bytes(PAGE)
    (tmp_path / "log.db").write_bytes(content)
    found = salvage(tmp_path / "log.db", tmp_path / "to", Quiet)
    topic = next(topic for topic in found.topics if topic.name == TOPIC)
    assert len(topic.lost) == 1
    on_it = int.from_bytes(sound[at + 3 : at + 5])
    assert len(EXPECTED) - topic.records == on_it * 3
    assert found.lacking == []
    made = create(tmp_path / "to" / "log.db", tmp_path / "kept", Quiet, Pace(0))
    assert {one.topic: one.records for one in made.topics} == {TOPIC: topic.records, OTHER: 1}


def test_what_only_the_write_ahead_log_holds_is_salvaged(tmp_path: Path) -> None:
    (tmp_path / "killed").mkdir()
    with closing(opened(tmp_path / "data")) as log:
        add(log, [b"newest"])
        for name in ("log.db", "log.db-wal"):
            (tmp_path / "killed" / name).write_bytes((tmp_path / "data" / name).read_bytes())
    found = salvage(tmp_path / "killed" / "log.db", tmp_path / "to", Quiet)
    assert [(topic.records, topic.lost) for topic in found.topics] == [(1, [])]
    with closing(SqliteReader(tmp_path / "to" / "log.db")) as reader:
        assert list(reader.read(TOPIC, 0, 0, 10).payloads) == [b"newest"]


def test_a_served_log_is_left_alone_and_nothing_is_written_over(
    sound: bytes, tmp_path: Path
) -> None:
    source = tmp_path / "data"
    owner = FolderLock(source, "edge")
    (source / "log.db").write_bytes(sound)
    with pytest.raises(Misconfigured, match="stop it"):
        salvage(source / "log.db", tmp_path / "to", Quiet)
    owner.release()
    assert not (tmp_path / "to").exists()
    with pytest.raises(Unproven, match="holds something already"):
        salvage(source / "log.db", source, Quiet)
