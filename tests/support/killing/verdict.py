"""The verdict: what the log has of all that was ordered, and how often."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from penstock.core.operations import Operations
from penstock.core.platform import Platform
from penstock.core.projection import Topic
from support.killing.orders import FOLD, ORDERS, OUTPUTS, SAID, Heard, Ordered, Said
from support.killing.rounds import running
from support.logs import contents

_STILL_SECONDS = 60.0
"""After so long without anything said what is lacking is lost."""
_SHOWN = 5


class Judgement(NamedTuple):
    orders: int
    outputs: int
    repeats: int
    losses: int
    again: int
    """Outputs that were offered to the log again, and that it had."""
    anew: int
    """Attempts of jobs beyond the first of each."""
    wrong: Sequence[str]
    """What else is not as it should be, in words."""

    @property
    def good(self) -> bool:
        return not (self.repeats or self.losses or self.wrong)

    def __str__(self) -> str:
        return (
            f"{self.orders:,} orders, {self.outputs:,} outputs, {self.repeats:,} repeats, "
            f"{self.losses:,} losses; {self.again:,} outputs were offered again and not taken, "
            f"{self.anew:,} attempts of jobs were made again; "
            + ("; ".join(self.wrong[:_SHOWN]) or "the rebuilt fold is equal")
        )


def judged(folder: Path, acknowledged: Sequence[int]) -> Judgement:
    """Carry on until nothing waits, then hold what is there against the orders."""
    with running(folder) as platform:
        orders = [event for event in _read(platform, ORDERS) if isinstance(event, Ordered)]
        wrong = _wrong(platform, Counter(order.key for order in orders))
        heard, said = _read(platform, ORDERS), Counter(_read(platform, SAID))
    wanted = {Said(order.number, what) for order in orders for what in OUTPUTS}
    inner = Counter((type(event), getattr(event, "name", None) or event.number) for event in heard)
    repeats = sum(times - 1 for counted in (said, inner) for times in counted.values())
    lost = {*acknowledged} - {order.number for order in orders}
    again, attempts = ((folder / name).stat().st_size for name in ("again", "attempts"))
    return Judgement(
        orders=len(orders),
        outputs=said.total(),
        repeats=repeats + len(said.keys() - wanted),
        losses=len(lost) + len(wanted - said.keys()),
        again=again,
        anew=attempts - len(orders),
        wrong=wrong,
    )


def _read(platform: Platform, topic: Topic[Any]) -> list[Any]:
    return [*map(topic.codec().decode, contents(platform.follow, topic.name))]


def _wrong(platform: Platform, orders: "Counter[str]") -> list[str]:
    """States that do not become what they should be, what was given up, what a rebuild finds."""
    wanted = {key: Heard(*[count] * len(OUTPUTS)) for key, count in orders.items()}
    known = _settled(platform, wanted)
    wrong = [
        f"{key} is {known[key]}, not {one}" for key, one in wanted.items() if one != known[key]
    ]
    wrong += map(str, platform.require_stores().dead_letters.letters(FOLD.name))
    rebuilt = Operations(platform).rebuild(
        FOLD.name, lambda _done, _of: None, from_scratch=False, dry_run=True
    )
    return [*wrong, *rebuilt.differences, *rebuilt.lost]


def _settled(platform: Platform, wanted: Mapping[str, Heard]) -> Mapping[str, Heard]:
    """The states once they are those, or once nothing comes any more."""
    state, keys = platform.require_stores().state, [key.encode() for key in wanted]
    was, until = -1, 0.0
    while True:
        values = state.get_many(FOLD.space, keys)
        known = {key: FOLD.read(v) if v else Heard() for key, v in zip(wanted, values, strict=True)}
        if (now := platform.follow.end(ORDERS.name, 0)) != was:
            was, until = now, time.monotonic() + _STILL_SECONDS
        if known == wanted or time.monotonic() > until:
            return known
        time.sleep(0.01)
