"""What a power cut or a failing disk leaves of files."""

from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path], object]


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def cut(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def removed(file: Path) -> None:
    file.unlink()


KINDS: tuple[Damage, ...] = (emptied, cut, flipped, removed)
