"""How long the records of a topic are kept: what its application says, and settings overrule."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from penstock.core.errors import Misconfigured
from penstock.core.settings import PREFIX, Settings

_HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Kept:
    """By age, by size, by both, or for ever. Raise `ValueError` for less than nothing."""

    hours: float = 0.0
    """Records that are older go, by the log's own clock; 0: none goes for its age."""
    bytes: int = 0
    """The oldest go while a topic has more, as it is stored; 0: none goes for the size."""

    def __post_init__(self) -> None:
        if self.hours < 0 or self.bytes < 0:
            raise ValueError(f"a topic cannot be kept for {self.hours} hours, {self.bytes} bytes")

    @property
    def is_bounded(self) -> bool:
        return bool(self.hours or self.bytes)

    @property
    def ms(self) -> int:
        return max(1, int(self.hours * _HOUR_MS))

    def __str__(self) -> str:
        bounds = [f"{self.hours:g} hours"] * bool(self.hours)
        bounds += [f"{self.bytes:,} bytes"] * bool(self.bytes)
        return " and ".join(bounds) or "for ever"


FOREVER = Kept()
ALL = "*"
"""In settings: every topic that they do not name."""


def overruled(said: Mapping[str, Kept], settings: Settings) -> dict[str, Kept]:
    """What is said of each topic, with what the settings say instead. Raise `Misconfigured`."""
    kept = {}
    hours = dict(_numbers("kept_hours", settings.kept_hours, said))
    sizes = dict(_numbers("kept_bytes", settings.kept_bytes, said))
    for name, own in said.items():
        kept[name] = Kept(
            hours.get(name, hours.get(ALL, own.hours)),
            int(sizes.get(name, sizes.get(ALL, own.bytes))),
        )
    return kept


def _numbers(setting: str, text: str, known: Mapping[str, Kept]) -> Iterator[tuple[str, float]]:
    variable = f"{PREFIX}{setting.upper()}"
    for word in filter(None, map(str.strip, text.split(","))):
        name, _, number = (part.strip() for part in word.partition("="))
        if name not in known and name != ALL:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            raise Misconfigured(f"{variable}: there is no topic {name}{hint}")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise Misconfigured(
                f"{variable}: {word} says no number from 0 on; write {name}=24, or {name}=0 for "
                "no such bound"
            )
        yield name, value
