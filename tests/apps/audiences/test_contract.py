"""The contract at the public door: vectors, exact bytes, order, depth and freshness.

All tests share one platform, so all live on one day, each with minutes and cookies of its own.
"""

import json
import time
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from apps.audiences.served import Ask, Served
from apps.audiences.tags import Tag, a_tag, encoded

Case = dict[str, Any]

DAY = "2022-03-01T"
ALL_DAY = f"time_range={DAY}00:00:00.000_2022-03-02T00:00:00.000"
PATIENCE_SECONDS = 60.0

VECTORS = Path(__file__).parent / "vectors"
TAGS: dict[str, Tag] = json.loads((VECTORS / "tags.json").read_text())


def listed(name: str) -> list[Case]:
    cases: list[Case] = json.loads((VECTORS / f"{name}.json").read_text())
    return cases


@pytest.fixture(scope="module")
def vectors(served: Served) -> Served:
    for tag in TAGS.values():
        served.tag(tag)
    served.settle()
    return served


def minutes(start: str, end: str) -> str:
    return f"time_range={DAY}{start}:00_{DAY}{end}:00"


THREE = minutes("00:00", "00:03")


# -- vectors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", listed("aggregates"), ids=itemgetter("id"))
def test_au_64_aggregates_are_answered_with_exactly_these_bytes(
    vectors: Served, case: Case
) -> None:
    got = vectors.aggregates(case["query"])
    assert (got.status, got.headers["content-type"]) == (200, "application/json")
    assert got.body == encoded(case["answer"])


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (f"time_range={DAY}00:00:30_{DAY}00:02:00&action=VIEW&aggregates=COUNT", "range_unaligned"),
        (f"{minutes('00:00', '00:11')}&action=VIEW&aggregates=COUNT", "range_too_long"),
        (f"{minutes('00:02', '00:01')}&action=VIEW&aggregates=COUNT", "bad_range"),
        (f"{THREE}&action=view&aggregates=COUNT", "bad_action"),
        (f"{THREE}&action=VIEW", "bad_aggregates"),
        (f"{THREE}&action=VIEW&aggregates=COUNT&aggregates=COUNT", "bad_aggregates"),
        (f"{THREE}&action=VIEW&aggregates=AVG", "bad_aggregates"),
        (f"{THREE}&action=VIEW&aggregates=COUNT&origin=", "bad_field"),
        (f"time_range={DAY}00:00:00Z_{DAY}00:01:00Z&action=VIEW&aggregates=COUNT", "bad_range"),
        (f"{THREE}_{DAY}00:04:00&action=VIEW&aggregates=COUNT", "bad_range"),
    ],
)
def test_au_15_v7_a_wrong_query_is_answered_400_with_its_code(
    served: Served, query: str, code: str
) -> None:
    got = served.aggregates(query)
    assert got.error == (400, code)
    assert list(got.json) == ["error", "message"]
    assert got.headers["content-type"] == "application/json"


@pytest.mark.parametrize("case", listed("profiles"), ids=itemgetter("id"))
def test_au_44_range_is_applied_before_the_limit(vectors: Served, case: Case) -> None:
    got = vectors.profile(case["cookie"], case["query"])
    views, buys = ([TAGS[name] for name in case[kind]] for kind in ("views", "buys"))
    assert got.status == 200
    assert got.body == encoded({"cookie": case["cookie"], "views": views, "buys": buys})


def test_au_06_v8_times_and_products_are_spelled_as_they_were_sent(vectors: Served) -> None:
    views = vectors.profile("A", f"time_range={DAY}00:00:00.000_{DAY}00:03:00.000").json["views"]
    assert [view["time"] for view in views[1::2]] == [f"{DAY}00:01:30Z", f"{DAY}00:00:00.000Z"]
    assert [view["product_info"]["product_id"] for view in views[1::2]] == ["SKU-9", 11]


def test_au_07_what_is_finer_or_elsewhere_is_told_back_in_milliseconds_at_z(served: Served) -> None:
    finer = a_tag(time=f"{DAY}02:30:00.123456789Z", cookie="finer", origin="finer")
    elsewhere = a_tag(time=f"{DAY}03:31:00.5+01:00", cookie="finer", origin="finer")
    served.tags([finer, elsewhere])
    got = served.profile("finer", ALL_DAY).json["views"]
    assert [tag["time"] for tag in got] == [f"{DAY}02:31:00.5Z", f"{DAY}02:30:00.123Z"]
    assert got[1] == {**finer, "time": got[1]["time"]}
    served.settle()
    query = f"{minutes('02:30', '02:32')}&action=VIEW&aggregates=COUNT&origin=finer"
    assert [row[-1] for row in served.rows(query)] == ["1", "1"]


def test_au_47_nobody_known_is_answered_with_two_empty_lists(served: Served) -> None:
    got = served.profile("nobody", ALL_DAY)
    assert (got.status, got.body) == (200, b'{"cookie":"nobody","views":[],"buys":[]}')


# -- profiles -----------------------------------------------------------------------------------


def test_au_45_v9_after_the_201st_view_the_oldest_is_never_seen_again(served: Served) -> None:
    tags = [a_tag(time=f"{DAY}03:00:00.{n:03d}Z", cookie="D", product_id=n) for n in range(201)]
    served.tags(tags)
    everything = served.profile("D", f"{ALL_DAY}&limit=200").json
    assert everything == {"cookie": "D", "views": tags[:0:-1], "buys": []}
    only_oldest = f"time_range={DAY}03:00:00.000_{DAY}03:00:00.001"
    assert served.profile("D", only_oldest).json["views"] == []
    served.tag(a_tag(time=f"{DAY}02:59:59.999Z", cookie="D"))
    assert served.profile("D", f"{ALL_DAY}&limit=200").json == everything
    assert served.profile("D", f"time_range={DAY}02:59:00_{DAY}03:00:00.001").json["views"] == []


def test_au_43_views_and_buys_are_kept_and_limited_apart(served: Served) -> None:
    made = {
        action: [
            a_tag(time=f"{DAY}03:10:00.{n:03d}Z", cookie="apart", action=action) for n in range(k)
        ]
        for action, k in (("VIEW", 450), ("BUY", 205))
    }
    served.tags([*made["VIEW"], *made["BUY"]])
    for limit in (1, 7, 200):
        got = served.profile("apart", f"{ALL_DAY}&limit={limit}").json
        assert got["views"] == made["VIEW"][::-1][:limit]
        assert got["buys"] == made["BUY"][::-1][:limit]
    assert len(served.profile("apart", f"{ALL_DAY}&limit=9999").json["buys"]) == 200


def test_au_46_v10_of_equal_times_the_later_accepted_comes_first(served: Served) -> None:
    for product in (1, 2, 3):
        served.tag(a_tag(time=f"{DAY}03:20:00.5Z", cookie="T", product_id=product))
    views = served.profile("T", ALL_DAY).json["views"]
    assert [view["product_info"]["product_id"] for view in views] == [3, 2, 1]


def test_au_46_ties_at_the_edge_of_the_depth_keep_the_later_accepted(served: Served) -> None:
    served.tags(a_tag(time=f"{DAY}03:21:00Z", cookie="T2", product_id=n) for n in range(230))
    views = served.profile("T2", ALL_DAY).json["views"]
    assert [view["product_info"]["product_id"] for view in views] == list(range(229, 29, -1))


def test_au_27_equal_tags_are_counted_and_listed_twice(served: Served) -> None:
    tag = a_tag(time=f"{DAY}03:25:00Z", cookie="twice", origin="twice")
    served.tags([tag, tag])
    served.tag(tag)
    assert served.profile("twice", ALL_DAY).json["views"] == [tag, tag, tag]
    served.settle()
    query = f"{minutes('03:25', '03:26')}&action=VIEW&aggregates=COUNT&origin=twice"
    assert served.rows(query)[0][-1] == "3"


COOKIES = ["a/b", "a+b", "a b", "a%b", "%2F", "żółć", "日本", "😀", "a?b", "a#b", "..", "a&b=c",
           "\0", "\n", "'\"\\", "A" * 256, "é" * 128, "e\u0301", " ", "{x}"]  # fmt: skip


@pytest.mark.parametrize("cookie", COOKIES)
def test_au_49_any_cookie_is_found_by_its_percent_encoded_spelling(
    served: Served, cookie: str
) -> None:
    tag = a_tag(time=f"{DAY}03:30:00.000Z", cookie=cookie)
    served.tag(tag)
    got = served.profile(quote(cookie, safe=""), f"time_range={DAY}03:30:00_{DAY}03:31:00").json
    assert got == {"cookie": cookie, "views": [tag], "buys": []}


def test_au_12_a_plus_in_the_path_stays_a_plus_and_case_matters(served: Served) -> None:
    served.tag(a_tag(time=f"{DAY}03:32:00Z", cookie="P+p"))
    found = {
        spelled: len(served.profile(spelled, ALL_DAY).json["views"])
        for spelled in ("P+p", "P%2Bp", "P%2bp", "P%20p", "p+p", "%50+p")
    }
    assert found == {"P+p": 1, "P%2Bp": 1, "P%2bp": 1, "P%20p": 0, "p+p": 0, "%50+p": 1}


WORDS = ["\\", "a\\nb", "a\nb", "a\tb", "it's", "{x}", "%s", "\\N", "NULL", "é", "\0", "\x1f\x7f",
         "`", '"q"', "日本", " a ", "[1]", "''", "😀", "x" * 256, "é" * 128]  # fmt: skip


def test_au_12_any_word_filters_exactly_what_was_sent(served: Served) -> None:
    names = ("origin", "brand_id", "category_id")
    sent = {"time": f"{DAY}03:40:00Z", "cookie": "words"}
    served.tags(a_tag(**{**sent, name: word}) for word in WORDS for name in names)
    served.settle()
    for word in WORDS:
        for name in names:
            query = f"{minutes('03:40', '03:41')}&action=VIEW&aggregates=COUNT&{name}={quote(word)}"
            assert served.rows(query) == [[f"{DAY}03:40:00", "VIEW", word, "1"]]


# -- freshness ----------------------------------------------------------------------------------


def test_au_50_a_query_after_the_204_sees_the_tag(served: Served) -> None:
    for n in range(50):
        tag = a_tag(time=f"{DAY}04:00:00.{n:03d}Z", cookie="own", product_id=n)
        served.tag(tag)
        assert served.profile("own", f"{ALL_DAY}&limit=1").json["views"] == [tag]


def test_au_82_the_last_tag_is_seen_in_both_views_without_any_later_one(served: Served) -> None:
    served.settle()
    query = f"{minutes('04:10', '04:11')}&action=BUY&aggregates=COUNT&aggregates=SUM_PRICE"
    tag = a_tag(time=f"{DAY}04:10:00Z", cookie="last", action="BUY", price=5)
    until = time.monotonic() + PATIENCE_SECONDS
    served.tag(tag)
    assert served.profile("last", ALL_DAY).json["buys"] == [tag]
    while (row := served.rows(query)[0][2:]) != ["1", "5"]:
        assert row == ["0", "0"]
        assert time.monotonic() < until
        time.sleep(0.05)


def test_au_71_an_open_minute_counts_what_came_so_far(served: Served) -> None:
    query = f"{minutes('04:20', '04:21')}&action=BUY&aggregates=COUNT&origin=open"
    for n in range(3):
        served.tag(a_tag(time=f"{DAY}04:20:{n:02d}Z", action="BUY", origin="open"))
        served.settle()
        assert served.rows(query) == [[f"{DAY}04:20:00", "BUY", "open", str(n + 1)]]


def test_au_84_a_minute_inside_the_retention_that_had_no_tag_is_a_true_zero(served: Served) -> None:
    rows = served.rows(f"{minutes('05:00', '05:10')}&action=VIEW&aggregates=SUM_PRICE")
    assert rows == [[f"{DAY}05:{n:02d}:00", "VIEW", "0"] for n in range(10)]


# -- expected answers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"null", b"{", b"\xff", b'{"cookie":"A","views":[],"buys":[]}', b"[" * 9_999,
     b" " * 1_048_576],
)  # fmt: skip
def test_au_101_v11_a_query_is_answered_the_same_whatever_it_expects(
    vectors: Served, body: bytes
) -> None:
    for path, query in (
        ("/user_profiles/A", f"time_range={DAY}00:00:00.000_{DAY}00:03:00.000"),
        ("/aggregates", f"{THREE}&action=VIEW&aggregates=COUNT"),
    ):
        plain = vectors.ask(Ask(path, query))
        got = vectors.ask(Ask(path, query, body, headers={"content-type": "text/plain"}))
        assert (got.status, got.body) == (plain.status, plain.body)
        assert plain.status == 200
