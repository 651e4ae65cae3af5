"""A manifest that contradicts itself is refused when it is made, with the word."""

from dataclasses import replace
from typing import Any

import pytest

from penstock.core.projection import Topic
from support.purses import DECISIONS, EMPTIED, MOVES, Decided, manifest

ELSEWHERE: Topic[Decided] = Topic("tests.elsewhere", (Decided,))


@pytest.mark.parametrize(
    ("changes", "emits", "reason"),
    [
        ({"topics": (MOVES, DECISIONS, EMPTIED, ELSEWHERE)}, (MOVES,), "Decided is of more than"),
        ({}, (ELSEWHERE,), "tests.move emits to tests.elsewhere, undeclared"),
        ({}, (), "tests.move emits to no topic"),
        ({"topics": (MOVES, DECISIONS)}, (MOVES,), "tests.purses emits to tests.emptied"),
    ],
)
def test_an_event_s_type_tells_its_topic(
    changes: Any, emits: tuple[Topic[Any], ...], reason: str
) -> None:
    ingest = tuple(replace(offer, emits=emits) for offer in manifest.ingest)
    with pytest.raises(ValueError, match=reason):
        replace(manifest, ingest=ingest, **changes)
