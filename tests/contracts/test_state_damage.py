"""Damage of every kind to every file of the embedded state: told of, or made good by the log."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from penstock.core.errors import Misconfigured, NotReady
from penstock.core.state import Entry, Position, Trim
from penstock.core.state.rocksdb import RocksState
from support.damage import KINDS, Damage

SPACE = "tests.space"
GROUPS = [b"%d" % n for n in range(40)]
STEPS = 60


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state as a killed process leaves it: a part in sorted files, the rest written ahead."""
    folder = tmp_path_factory.mktemp("whole")
    with closing(RocksState(folder / "closed")) as state:
        applied(state, 1, STEPS // 2)
    state = RocksState(folder / "closed")
    applied(state, STEPS // 2 + 1, STEPS)
    shutil.copytree(folder / "closed", folder / "state")
    state.close()
    return folder / "state"


def applied(state: RocksState, first: int, last: int) -> None:
    for step in range(first, last + 1):
        state.apply(
            SPACE,
            [Entry(group, b"%04d" % step, b"." * 50) for group in GROUPS],
            partition=0,
            was=state.position(SPACE, 0),
            position=Position("a-log", step),
        )


def answer(folder: Path) -> bool:
    """Whether it answers; what it does is right for where it says that it is."""
    try:
        state = RocksState(folder)
    except Misconfigured:
        return False
    with closing(state):
        try:
            position = state.position(SPACE, 0)
            found = state.first(SPACE, GROUPS, STEPS + 1)
            scanned = list(state.scan(SPACE))
            if position is not None:
                trims = [Trim(group, STEPS) for group in GROUPS]
                state.apply(SPACE, [], partition=0, was=position, position=position, trims=trims)
        except NotReady:
            return False
        steps = range(1, position.next + 1 if position else 1)
        assert found == [[(b"%04d" % step, b"." * 50) for step in steps] for _ in GROUPS]
        assert len(scanned) == len(steps) * len(GROUPS)
        return True


@pytest.mark.parametrize("damage", KINDS)
def test_whatever_file_is_damaged_it_answers_right_or_not_at_all(
    whole: Path, tmp_path: Path, damage: Damage
) -> None:
    """Reliability 46."""
    answers = {}
    for name in sorted(path.name for path in whole.iterdir() if path.stat().st_size):
        shutil.copytree(whole, tmp_path / name)
        damage(tmp_path / name / name)
        answers[name] = answer(tmp_path / name)
    assert not all(answers.values()), answers


def test_wherever_a_byte_is_changed_it_answers_right_or_not_at_all(
    whole: Path, tmp_path: Path
) -> None:
    """Reliability 46."""
    for file in whole.glob("*.sst"):
        size = file.stat().st_size
        for at in range(7, size, size // 20):
            folder = tmp_path / f"{file.stem}-{at}"
            shutil.copytree(whole, folder)
            content = bytearray(file.read_bytes())
            content[at] ^= 0x40
            (folder / file.name).write_bytes(content)
            answer(folder)
