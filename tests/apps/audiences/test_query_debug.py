"""Query debug switched on: what is counted, what is logged, and that no answer changes."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from apps.audiences.served import Answer, Served
from apps.audiences.tags import a_tag, encoded
from support.asking import PATIENT

RANGE = "time_range=2022-03-01T00:00:00_2022-03-01T00:01:00"
AGGREGATES = f"{RANGE}&action=VIEW&aggregates=COUNT&aggregates=SUM_PRICE"
TAG = a_tag(cookie="c", time="2022-03-01T00:00:00.500Z")
LINES_PER_SECOND_MAX = 10


@pytest.fixture(scope="module")
def debugged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    environment = {**PATIENT, "PENSTOCK_AUDIENCES_QUERY_DEBUG": "on"}
    served = Served(tmp_path_factory.mktemp("debugged"), environment)
    served.tag(TAG)
    served.settle()
    yield served
    served.close()


def both(served: Served, body: bytes) -> list[Answer]:
    return [served.profile("c", RANGE, body), served.aggregates(AGGREGATES, body)]


def counted(served: Served) -> dict[str, float]:
    return {
        name: served.metric(f'penstock_application{{number="audiences.debug_{name}"}}') or 0
        for name in ("mismatches", "unparsed")
    }


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", ""),
        (b"{}", ""),
        (b"{", "unparsed"),
        (b"\xff", "unparsed"),
        (b'{"x":"\xff"}', "unparsed"),
        (b"[" * 100_000, "unparsed"),
        (b"[]", "mismatches"),
        (b'{"cookie":"c","views":[],"buys":[]}', "mismatches"),
        (encoded({"k" * 500_000: 1}), "mismatches"),
    ],
)
def test_au_102_answers_stay_the_same_and_the_kind_of_body_is_counted(
    debugged: Served, body: bytes, kind: str
) -> None:
    before = counted(debugged)
    plain = both(debugged, b"")
    got = both(debugged, body)
    assert [(answer.status, answer.body) for answer in got] == [
        (answer.status, answer.body) for answer in plain
    ]
    expected = {name: before[name] + (2 if name == kind else 0) for name in before}
    assert counted(debugged) == expected


def test_au_102_the_right_answer_in_another_spelling_is_no_mismatch(debugged: Served) -> None:
    before = counted(debugged)
    profile, aggregates = (answer.json for answer in both(debugged, b""))
    assert profile["views"] == [TAG]
    profile["views"][0]["time"] = "2022-03-01T00:00:00.5Z"
    debugged.profile("c", RANGE, json.dumps(profile, sort_keys=True, indent=1).encode())
    debugged.aggregates(AGGREGATES, json.dumps(aggregates, sort_keys=True).encode())
    assert counted(debugged) == before


def test_au_102_a_mismatch_is_one_line_with_the_first_difference(debugged: Served) -> None:
    debugged.run(_a_rest())
    debugged.lines.clear()
    expected = {"cookie": "c", "views": [{**TAG, "country": "XX"}], "buys": []}
    answer = debugged.profile("c", RANGE, encoded(expected))
    (line,) = debugged.lines
    assert (line["event"], line["operation"]) == ("query.mismatch", "user_profiles")
    assert (line["query"], line["parameters"]) == (RANGE, ["c"])
    assert line["difference"] == '$.views[0].country: expected "XX", got "CL"'
    sizes = (line["expected_bytes"], line["answer_bytes"])
    assert sizes == (len(encoded(expected)), len(answer.body))


def test_au_102_no_more_than_ten_lines_a_second_are_written(debugged: Served) -> None:
    debugged.run(_a_rest())
    debugged.lines.clear()
    before = counted(debugged)["mismatches"]
    began = debugged.platform.clock.monotonic()
    for _ in range(60):
        debugged.profile("nobody", RANGE, b"[]")
    seconds = int(debugged.platform.clock.monotonic()) - int(began) + 1
    assert 1 <= len(debugged.lines) <= LINES_PER_SECOND_MAX * seconds
    assert counted(debugged)["mismatches"] == before + 60


async def _a_rest() -> None:
    """Whatever was written before, there is a line to spare afterwards."""
    await asyncio.sleep(1.01)
