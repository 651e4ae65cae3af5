"""What a browser is shown: whole pages that load nothing from elsewhere, and no word unescaped."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from apps.audiences.served import Answer, Ask, Served
from penstock.core import pages
from penstock.core.pages import overview
from penstock.core.pages.overview import AccountLine, Overview, ViewLine
from penstock.core.stages import Pipeline, ProjectionStage
from penstock.main import manifests

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
VOID = {"meta", "link", "br", "img"}
PAGES = pytest.mark.parametrize("path", ["/", "/docs"])
HOSTILE = "<script>alert(1)</script>\"'&"


class Tree(HTMLParser):
    """Its links and places, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: set[str] = set()
        self.places: list[str] = []
        self.inline: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.links |= {given.get("href") or "", given.get("src") or ""} - {""}
        self.places.append(given.get("id") or "")
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(served: Served, path: str) -> tuple[Answer, Tree]:
    got = served.ask(Ask(path, method="GET", headers=BROWSER))
    assert (got.status, got.headers["content-type"]) == (200, "text/html; charset=utf-8")
    tree = Tree(got.body.decode())
    assert tree.open == []
    return got, tree


@PAGES
def test_a_page_is_whole_and_runs_and_loads_only_what_this_server_has(
    served: Served, path: str
) -> None:
    got, tree = shown(served, path)
    policy = got.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert got.headers["x-content-type-options"] == "nosniff"
    assert tree.inline == []
    places = [place for place in tree.places if place]
    assert len(set(places)) == len(places)


@PAGES
def test_every_link_of_a_page_leads_somewhere(served: Served, path: str) -> None:
    _, tree = shown(served, path)
    for link in tree.links - {"data:,"}:
        address, _, place = link.partition("#")
        target, there = shown(served, address) if address in ("/", "/docs") else (None, tree)
        assert target is not None or not address or served.get(address).status == 200, link
        assert not place or place in there.places, link


def test_the_address_that_is_printed_says_what_runs_how_far_it_is_and_what_to_do(
    served: Served,
) -> None:
    served.until("/readyz", 200)
    _, tree = shown(served, "/")
    for word in (
        *("Ready", "sqlite", "rocksdb", "chdb", "edge, api, work", "received"),
        *("audiences.profiles", "audiences_tags"),
        "curl -X POST http://127.0.0.1:8080/user_tags",
    ):
        assert word in tree.text


def test_who_asks_for_no_page_is_told_the_same_as_json(served: Served) -> None:
    got = served.get("/")
    assert got.headers["content-type"] == "application/json"
    assert got.json["engines"] == {"log": "sqlite", "state": "rocksdb", "warehouse": "chdb"}
    assert [line["projection"] for line in got.json["projections"]] == [
        "audiences.profiles",
        "audiences_tags",
    ]
    assert str(served.folder) not in got.body.decode()


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/pages/style.css", "/pages/page.js"])
def test_what_does_not_change_is_sent_once(
    served: Served, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "hour", lambda _: "2026-11-30T08")
    got = served.get(path)
    again = Ask(path, method="GET", headers={"if-none-match": f'"x", W/{got.headers["etag"]}'})
    unchanged = served.ask(again)
    assert (unchanged.status, unchanged.body) == (304, b"")
    assert unchanged.headers["etag"] == got.headers["etag"]
    assert "content-length" not in unchanged.headers
    head = served.ask(Ask(path, method="HEAD"))
    assert head.headers["content-length"] == str(len(got.body))
    monkeypatch.setattr(pages, "hour", lambda _: "2026-11-30T09")
    later = served.ask(again)
    tried = path in ("/docs", "/openapi.json")
    assert (b"2026-11-30T08:" in got.body, b"2026-11-30T09:" in later.body) == (tried, tried)
    assert later.status == (200 if tried else 304)


def test_pages_name_no_other_server(served: Served) -> None:
    for path in ("/", "/docs", "/pages/style.css", "/pages/page.js"):
        text = served.ask(Ask(path, method="GET", headers=BROWSER)).body.decode()
        assert set(re.findall(r"https?://[\w.:-]+", text)) <= {"http://127.0.0.1:8080"}, path


def test_whatever_an_engine_or_a_name_says_is_shown_and_never_run() -> None:
    line = ViewLine(HOSTILE, "retrying", None, None, 7, HOSTILE)
    told = Overview(
        HOSTILE, [HOSTILE], 0, {HOSTILE: HOSTILE}, {HOSTILE: HOSTILE}, {HOSTILE: HOSTILE},
        AccountLine(1, 0, 0, 0, balanced=False), [line],
    )  # fmt: skip
    text = overview.page(told, manifests(), 90_000)
    tree = Tree(text)
    assert tree.inline == []
    assert tree.text.count(HOSTILE) >= 5
    assert HOSTILE not in text
    for word in ("Not ready", "retrying", "not accounted for", "1 min"):
        assert word in tree.text


def a_stage(**changes: Any) -> ProjectionStage:
    stage: ProjectionStage = {
        "projection": "p", "partition": 0, "state": "running", "position": 0, "quarantined": 1,
        "remembered": "", "lag_records": 2, "lag_seconds": 0.5, "last_error": "",
    }  # fmt: skip
    stage.update(changes)  # type: ignore[typeddict-item] # a test changes what it likes
    return stage


def test_a_projection_is_as_far_as_the_partition_that_is_last() -> None:
    def seen(*stages: ProjectionStage) -> ViewLine:
        log: Any = {"last_error": "", "spooled": 0}
        pipeline: Pipeline = {"log": log, "topics": [], "projections": list(stages), "mirrors": []}
        (line,) = overview.views(pipeline)
        return line

    worse = a_stage(partition=1, state="retrying", lag_seconds=3.0, last_error="away")
    assert seen(a_stage(), worse) == ViewLine("p", "retrying", 4, 3.0, 2, "away")
    away = a_stage(partition=1, state="elsewhere", lag_seconds=0.0)
    assert seen(a_stage(), away) == ViewLine("p", "running", 4, 0.5, 2, "")
    assert seen(away) == ViewLine("p", "elsewhere", 2, 0.0, 1, "")
    unknown = a_stage(quarantined=None)
    del unknown["lag_records"]
    assert seen(a_stage(), unknown) == ViewLine("p", "running", None, 0.5, None, "")


def test_what_is_not_fresh_says_since_when() -> None:
    assert overview.with_age({}, 0.4) == {}
    assert overview.with_age({"log": "away"}, 4.2) == {
        "log": "away",
        "pipeline": "as it was 4 seconds ago",
    }
    assert overview.with_age({}, None) == {"pipeline": "no answer yet"}
