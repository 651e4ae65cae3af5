"""Where what folds say comes back to them, so that it might go on for ever."""

from collections.abc import Collection, Iterable
from typing import Any

from penstock.core.projection import Fold

Circle = tuple[str, str]
"""A fold's space, and a topic that it says something in and hears of again."""


def circles(folds: Iterable[Fold[Any, Any]]) -> frozenset[Circle]:
    """Through whichever of them."""
    known = [*folds]
    leads: dict[str, set[str]] = {}
    for fold in known:
        leads.setdefault(fold.topic.name, set()).update(topic.name for topic in fold.emits)
    return frozenset(
        (fold.space, topic.name)
        for fold in known
        for topic in fold.emits
        if fold.topic.name in _reached(topic.name, leads)
    )


def _reached(topic: str, leads: dict[str, set[str]]) -> Collection[str]:
    """With the topic itself."""
    found, ahead = {topic}, [topic]
    while ahead:
        new = leads.get(ahead.pop(), set()) - found
        found |= new
        ahead += new
    return found
