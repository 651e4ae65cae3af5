"""Statuses, limits and the operations surface, on a platform of its own."""

import json
import re
import time

import pytest

from apps.audiences.served import Ask, Served
from apps.audiences.tags import a_tag, encoded
from support.clock import SteppingClock

RANGE = "time_range=2022-03-01T00:00:00_2022-03-01T00:01:00"
GOOD = encoded(a_tag())
KIB_64 = 65_536
MIB = 1_048_576


def tag_of_size(size: int) -> bytes:
    return GOOD[:-1] + b" " * (size - len(GOOD)) + b"}"


# -- routes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/user_tag", "/user_tags/", "/user_tags/batch/", "/user_profiles",
     "/user_profiles/", "/user_profiles//", "/user_profiles/a/b", "/aggregates/", "//user_tags",
     "/USER_TAGS", "/admin/reset"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_au_49_a_path_that_is_none_or_an_empty_cookie_is_answered_404(
    served: Served, path: str, method: str
) -> None:
    got = served.ask(Ask(path, RANGE, GOOD, method))
    assert got.error == (404, "not_found")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
@pytest.mark.parametrize(
    "path", ["/user_tags", "/user_tags/batch", "/user_profiles/a", "/aggregates"]
)
def test_au_01_a_wrong_method_is_answered_405_with_the_allowed_ones(
    served: Served, path: str, method: str
) -> None:
    got = served.ask(Ask(path, RANGE, method=method))
    assert (got.status, got.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_au_110_what_an_operator_asks_is_only_read(served: Served, path: str) -> None:
    got = served.ask(Ask(path))
    assert (got.status, got.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("cookie", ["%FF", "%ED%A0%80", "%C3", "x" * 257, "%C3%A9" * 129])
def test_au_49_a_cookie_that_cannot_be_one_is_answered_400(served: Served, cookie: str) -> None:
    assert served.profile(cookie, RANGE).error == (400, "bad_field")


# -- bodies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_au_23_a_tag_of_more_than_64_kib_is_answered_413(
    served: Served, pieces: int, *, announced: bool
) -> None:
    def status(size: int) -> int:
        headers = {} if announced else {"transfer-encoding": "chunked"}
        body = tag_of_size(size)
        return served.ask(Ask("/user_tags", body=body, headers=headers, pieces=pieces)).status

    assert (status(KIB_64), status(KIB_64 + 1), status(3 * KIB_64)) == (204, 413, 413)


def test_au_15_an_error_names_its_code_in_json(served: Served) -> None:
    got = served.ask(Ask("/user_tags", body=tag_of_size(KIB_64 + 1)))
    assert got.error == (413, "too_large")
    assert list(got.json) == ["error", "message"]
    assert got.headers["content-type"] == "application/json"
    assert got.headers["content-length"] == str(len(got.body))


@pytest.mark.parametrize("path", ["/user_profiles/x", "/aggregates"])
@pytest.mark.parametrize("pieces", [1, 5])
def test_au_101_a_query_body_may_have_up_to_1_mib(served: Served, path: str, pieces: int) -> None:
    query = f"{RANGE}&action=VIEW&aggregates=COUNT"
    taken = served.ask(Ask(path, query, b"x" * MIB, pieces=pieces))
    refused = served.ask(Ask(path, query, b"x" * (MIB + 1), pieces=pieces))
    assert taken.status == 200
    assert refused.error == (413, "too_large")


def test_au_02_another_content_type_is_answered_415(served: Served) -> None:
    headers = {"content-type": "text/plain"}
    for path in ("/user_tags", "/user_tags/batch"):
        got = served.ask(Ask(path, body=GOOD, headers=headers))
        assert got.error == (415, "unsupported_type")
    coded = {"content-encoding": "compress"}
    assert served.ask(Ask("/user_tags", body=GOOD, headers=coded)).status == 415


def test_au_26_a_refused_tag_is_in_neither_view(served: Served) -> None:
    for wrong in ({"price": 1.5}, {"time": "2022-03-01T00:30:00"}, {"device": "pc"}):
        tag = a_tag(**{"cookie": "refused", "origin": "refused", **wrong})
        assert served.ask(Ask("/user_tags", body=encoded(tag))).status == 400
    served.settle()
    assert served.profile("refused", RANGE).json == {"cookie": "refused", "views": [], "buys": []}
    query = f"{RANGE}&action=VIEW&aggregates=COUNT&origin=refused"
    assert served.rows(query)[0][-1] == "0"


def test_au_31_a_batch_keeps_its_good_lines(served: Served) -> None:
    tags = [a_tag(time=f"2022-03-01T00:10:0{n}Z", cookie="batch") for n in range(3)]
    lines = [encoded(tags[0]), b"{", encoded(tags[1]), b"", encoded(tags[2])]
    got = served.ask(Ask("/user_tags/batch", body=b"\n".join(lines)))
    assert got.status == 200
    assert got.json["accepted"] == 3
    assert [(one["line"], one["error"]) for one in got.json["rejected"]] == [(2, "bad_json")]
    query = "time_range=2022-03-01T00:10:00_2022-03-01T00:11:00"
    assert served.profile("batch", query).json["views"] == tags[::-1]
    too_many = b"\n".join([GOOD] * 1001)
    assert served.ask(Ask("/user_tags/batch", body=too_many)).error == (413, "too_large")


def test_au_28_a_repeat_under_the_same_key_adds_nothing(served: Served) -> None:
    tag = a_tag(time="2022-03-01T00:20:00Z", cookie="again", origin="again")
    other = a_tag(time="2022-03-01T00:20:01Z", cookie="again", origin="again")
    for body, key, status in ((tag, 1, 204), (tag, 1, 204), (other, 1, 422), (tag, 2, 204)):
        got = served.ask(
            Ask("/user_tags", body=encoded(body), headers={"idempotency-key": f"again-{key}"})
        )
        assert got.status == status
    query = "time_range=2022-03-01T00:20:00_2022-03-01T00:21:00"
    assert served.profile("again", query).json["views"] == [tag, tag]
    served.settle()
    assert served.rows(f"{query}&action=VIEW&aggregates=COUNT&origin=again")[0][-1] == "2"


def test_au_28_repeats_at_the_same_moment_are_one(served: Served) -> None:
    tag = encoded(a_tag(time="2022-03-01T00:21:00Z", cookie="at once"))
    asks = [Ask("/user_tags", body=tag, headers={"idempotency-key": "at-once"})] * 20
    assert {answer.status for answer in served.at_once(asks)} == {204}
    query = "time_range=2022-03-01T00:21:00_2022-03-01T00:22:00"
    assert len(served.profile("at%20once", query).json["views"]) == 1


# -- operations ---------------------------------------------------------------------------------


def test_au_110_a_working_platform_is_alive_and_ready(served: Served) -> None:
    assert (served.get("/healthz").status, served.get("/readyz").status) == (200, 200)


def test_au_111_every_metric_an_operator_needs_is_there(served: Served) -> None:
    served.tag(a_tag())
    served.profile("x", RANGE)
    served.aggregates(f"{RANGE}&action=VIEW&aggregates=COUNT")
    served.aggregates("")
    served.settle()
    text = served.get("/metrics").body.decode()
    for operation in ("user_tags", "user_profiles", "aggregates"):
        name = f"audiences.{operation}"
        for sample in (
            f'penstock_requests_total{{operation="{name}",status="2xx"}}',
            f'penstock_request_seconds_bucket{{le="0.02",operation="{name}"}}',
            f'penstock_request_seconds_count{{operation="{name}"}}',
        ):
            assert f"\n{sample} " in text
    for projection in ("audiences.profiles", "audiences_tags"):
        for metric in ("lag_seconds", "lag_records", "skipped_total"):
            assert (
                f'\npenstock_projection_{metric}{{partition="0",projection="{projection}"}} '
                in text
            )
    for sample in (
        "penstock_requests_in_flight",
        'penstock_requests_total{operation="audiences.aggregates",status="4xx"}',
        'penstock_events_stored_total{topic="audiences.tags"}',
        'penstock_application{number="audiences.retention_horizon_seconds"}',
        'penstock_disk_bytes{store="log"}',
        'penstock_disk_bytes{store="state"}',
        'penstock_disk_bytes{store="warehouse"}',
    ):
        assert f"\n{sample} " in text


def test_au_111_accepted_tags_and_requests_are_counted_exactly(served: Served) -> None:
    samples = [
        'penstock_events_stored_total{topic="audiences.tags"}',
        'penstock_requests_total{operation="audiences.user_tags",status="2xx"}',
        'penstock_requests_total{operation="audiences.user_tags",status="4xx"}',
        'penstock_request_seconds_count{operation="audiences.user_tags"}',
    ]
    before = [served.metric(sample) or 0 for sample in samples]
    served.at_once([Ask("/user_tags", body=GOOD)] * 7 + [Ask("/user_tags", body=b"{")] * 2)
    after = [served.metric(sample) or 0 for sample in samples]
    assert [b - a for a, b in zip(before, after, strict=True)] == [7, 7, 2, 9]


def test_au_112_a_failed_request_is_one_line_and_a_good_one_none(served: Served) -> None:
    served.settle()
    served.lines.clear()
    served.tag(a_tag())
    served.profile("x", RANGE)
    served.aggregates(f"{RANGE}&action=VIEW&aggregates=COUNT")
    served.get("/healthz")
    served.settle()
    assert served.told() == []
    got = served.ask(Ask("/user_tags", body=b"{", headers={"x-request-id": "mine"}))
    assert got.headers["x-request-id"] != "mine"  # anybody could say so
    (line,) = served.told()
    assert (line["event"], line["status"], line["error"]) == ("request.refused", 400, "bad_json")
    assert (line["method"], line["path"]) == ("POST", "/user_tags")
    assert line["request_id"] == got.headers["x-request-id"]


@pytest.mark.parametrize(
    "ask", [Ask("/nowhere"), Ask("/aggregates"), Ask("/user_tags", method="GET")]
)
def test_au_112_every_kind_of_refusal_is_said_once(served: Served, ask: Ask) -> None:
    time.sleep(0.05)  # a hundred a second are said
    served.lines.clear()
    got = served.ask(ask)
    (line,) = served.told()
    assert (line["status"], line["request_id"]) == (got.status, got.headers["x-request-id"])
    assert re.fullmatch(r"[0-9a-f-]{36}", line["request_id"])
    assert json.dumps(line)


def test_au_111_the_pipeline_balances(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is stored a day too early is in a minute that is not shown: it is the minutes of now.
    monkeypatch.setattr(SteppingClock, "steps", False)
    served.at_once([Ask("/user_tags", body=GOOD)] * 3 + [Ask("/user_tags", body=b"{")])
    served.settle()
    (topic,) = served.get("/api/pipeline").json["topics"]
    assert topic["balanced"]
    stored = served.metric('penstock_events_stored_total{topic="audiences.tags"}')
    assert topic["end"] == stored
    assert 0 < sum(minute["stored"] for minute in topic["minutes"]) <= topic["end"]
