"""Entities over HTTP, in a whole process: what is asked is kept, told, and said to the log."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from penstock.core.admin import reset
from penstock.core.editing import offers
from penstock.core.entities import Changed, Republished
from penstock.core.errors import Misconfigured, Rejected
from penstock.core.events import Codec
from penstock.core.manifest import Manifest
from penstock.core.openapi import document, words
from penstock.core.operations import Operations
from penstock.core.platform import Platform
from penstock.main import build
from support import shop
from support.logs import contents, wait_until
from support.pipes import asked

ROOMY = {"PENSTOCK_DISK_FREE_BYTES_MIN": "0"}
SHELF = {"name": "Left of the door", "code": "a", "height": 100, "load": 50.0, "lit": False,
         "room": "front"}  # fmt: skip
CODEC = Codec((Changed, Republished))


class Told(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str, str]:
        return self.status, self.json["error"], self.json.get("field", "")


class Bench:
    def __init__(
        self, folder: Path, manifest: Manifest = shop.manifest, **environment: str
    ) -> None:
        self.runner = asyncio.Runner()
        self.platform: Platform = build(
            {**ROOMY, **environment}, {"data": str(folder)}, others=(manifest,)
        )
        self.platform.start()
        self.runner.run(self._attach())

    async def _attach(self) -> None:
        self.platform.edge.attach(asyncio.get_running_loop())

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Told:
        sent = (
            b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        lines = {"Host": "tests", "Content-Length": str(len(sent)), **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        request = f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + sent
        return Told(*self.runner.run(asked(self.platform.edge, method, [request])))

    def make(self, code: str, **fields: Any) -> dict[str, Any]:
        made = self.ask("POST", "/api/shelves", {"name": "A", "code": code, **fields})
        assert made.status == 201, made.body
        shelf: dict[str, Any] = made.json
        return shelf

    def said(self) -> list[Any]:
        log = self.platform.log
        assert log is not None
        return [CODEC.decode(payload) for payload in contents(log, "shop.changes")]

    def close(self) -> None:
        self.platform.close()
        self.runner.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_an_entity_is_made_read_replaced_archived_and_removed(bench: Bench) -> None:
    made = bench.ask("POST", "/api/shelves", {"name": "Left of the door", "code": "a"})
    assert made.status == 201
    shelf = made.json
    path = f"/api/shelves/{shelf['id']}"
    assert (made.headers["location"], made.headers["etag"]) == (path, '"1"')
    assert shelf == {
        **SHELF, "id": shelf["id"], "revision": 1, "archived": False,
        "created_at": shelf["created_at"], "updated_at": shelf["created_at"],
    }  # fmt: skip
    read = bench.ask("GET", path)
    assert (read.status, read.json, read.headers["etag"]) == (200, shelf, '"1"')
    held = {"If-Match": '"1"'}
    saved = bench.ask("PUT", path, {"name": "Right", "code": "a"}, held)
    assert (saved.status, saved.json["name"], saved.headers["etag"]) == (200, "Right", '"2"')
    late = bench.ask("PUT", path, {"name": "Wrong", "code": "a"}, held)
    assert late.error == (409, "conflict", "")
    assert bench.ask("PUT", f"{path}/archive", headers={"If-Match": "2"}).json["archived"] is True
    assert bench.ask("GET", "/api/shelves").json == {"items": [], "total": 0}
    listed = bench.ask("GET", "/api/shelves?archived=true&sort=-height&limit=1")
    assert [one["name"] for one in listed.json["items"]] == ["Right"]
    assert bench.ask("DELETE", f"{path}/archive").json["revision"] == 4
    item = bench.ask("POST", "/api/items", {"name": "Kettle", "shelf": shelf["id"]}).json
    used = bench.ask("DELETE", path)
    assert used.error == (409, "in_use", "")
    assert f"item {item['id']}" in used.json["message"]
    assert bench.ask("DELETE", f"/api/items/{item['id']}").status == 204
    gone = bench.ask("DELETE", path, headers={"If-Match": '"4"'})
    assert (gone.status, gone.body) == (204, b"")
    assert bench.ask("GET", path).error == (404, "not_found", "")
    history = bench.ask("GET", f"{path}/history?limit=2").json
    assert history["total"] == 5
    assert [of["action"] for of in history["items"]] == ["remove", "unarchive"]
    assert history["items"][0]["request_id"] == gone.headers["x-request-id"]
    assert history["items"][0]["after"] is None
    wait_until(lambda: len(bench.said()) == 7)
    assert [(of.kind, of.revision) for of in bench.said()] == [
        *(("shelf", n) for n in (1, 2, 3, 4)), ("item", 1), ("item", 2), ("shelf", 5),
    ]  # fmt: skip


def test_what_a_page_sends_elsewhere_unasked_is_refused(bench: Bench) -> None:
    path = f"/api/shelves/{bench.make('a')['id']}"
    for method, to in (("POST", "/api/shelves"), ("PUT", path)):
        for media in ("text/plain", "application/x-www-form-urlencoded"):
            told = bench.ask(method, to, {"name": "B", "code": "b"}, {"Content-Type": media})
            assert told.error == (415, "unsupported_type", "")


def test_what_is_refused_is_told_with_its_field(bench: Bench) -> None:
    for code, body in (
        ("code", {"name": "A"}),
        ("height", {"name": "A", "code": "a", "height": 3}),
    ):
        assert bench.ask("POST", "/api/shelves", body).error == (400, "bad_field", code)
    assert bench.ask("POST", "/api/shelves", b"{").error == (400, "bad_request", "")
    assert bench.ask("GET", "/api/shelves?limit=0").error == (400, "bad_field", "limit")
    for method, below in (("GET", ""), ("GET", "/history"), ("DELETE", ""), ("PUT", "/archive")):
        told = bench.ask(method, f"/api/shelves/shf_%00{below}")
        assert told.error == (404, "not_found", "")
    shelf = bench.make("taken")
    taken = bench.ask("POST", "/api/shelves", {"name": "B", "code": "taken"})
    assert taken.error == (409, "taken", "code")
    odd = bench.ask("DELETE", f"/api/shelves/{shelf['id']}", headers={"If-Match": "W/1"})
    assert odd.error == (400, "bad_request", "")
    assert bench.ask("GET", "/api/shelves").json["total"] == 1


def test_a_request_that_is_sent_again_makes_one(bench: Bench) -> None:
    key = {"Idempotency-Key": "once"}
    body = {"name": "A", "code": "once"}
    one, other = (bench.ask("POST", "/api/shelves", body, key) for _ in range(2))
    assert (one.status, other.status) == (201, 201)
    assert one.body == other.body
    again = bench.ask("POST", "/api/shelves", {**body, "name": "B"}, key)
    assert again.error == (422, "key_reused", "")


def test_names_in_every_script_come_back_as_they_were(bench: Bench) -> None:
    for number, name in enumerate(
        ("שלום", "漢字", "<script>\"'&", "a\r\nb: c", "e\u0301", "🪵" * 200)
    ):
        shelf = bench.make(f"script-{number}", name=name)
        assert bench.ask("GET", f"/api/shelves/{shelf['id']}").json["name"] == name


def test_only_who_has_a_key_may_and_the_history_has_the_name(tmp_path: Path) -> None:
    keys = f"ann=sha256:{sha256(b'secret').hexdigest()}"
    bench = Bench(tmp_path, shop.keyed, PENSTOCK_SHOP_KEYS=keys)
    try:
        for route in offers.routes(shop.keyed):
            if route.operation.startswith("shop.shelf."):
                path = route.paths[0].replace("{id}", "shf_" + "0" * 24)
                assert bench.ask(route.methods[0], path, {}).status == 401
        held = {"Authorization": "Bearer secret"}
        made = bench.ask("POST", "/api/shelves", {"name": "A", "code": "a"}, held)
        assert made.status == 201
        history = bench.ask("GET", f"/api/shelves/{made.json['id']}/history", headers=held).json
        assert [of["who"] for of in history["items"]] == ["ann"]
    finally:
        bench.close()


def test_what_was_set_outlives_the_process_and_a_reset(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    shelf = bench.make("a")
    bench.close()
    bench = Bench(tmp_path)
    try:
        assert bench.ask("GET", f"/api/shelves/{shelf['id']}").json == shelf
        wait_until(lambda: len(bench.said()) == 1)
        reset(bench.platform)
        wait_until(lambda: len(bench.said()) == 2)
        assert bench.said()[0].id == shelf["id"]
        assert Operations(bench.platform).republish() == {"shop": 1}
        wait_until(lambda: len(bench.said()) == 4)
        assert bench.said()[2].era > bench.said()[0].era
    finally:
        bench.close()


def test_entities_are_edited_where_the_log_is_written(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"shop has entities, .* give the role api to"):
        build(ROOMY, {"data": str(tmp_path)}, roles=("api", "work"), others=(shop.manifest,))
    build(ROOMY, {"data": str(tmp_path)}, roles=("edge",), others=(shop.manifest,)).close()
    assert not (tmp_path / "database.db").exists()


def test_where_nothing_is_edited_nothing_can_be_republished(tmp_path: Path) -> None:
    platform = build(
        ROOMY, {"data": str(tmp_path)}, roles=("edge", "work"), others=(shop.manifest,)
    )
    try:
        with pytest.raises(Rejected, match="has entities"):
            Operations(platform).republish()
    finally:
        platform.close()


def test_clients_are_told_of_every_operation(bench: Bench) -> None:
    made = document([shop.manifest], [])
    calls = {call.operation["operationId"]: call for call in words.calls(made, "shop")}
    actions = ["list", "create", "read", "replace", "remove", "archive", "unarchive", "history"]
    assert {*calls} == {f"shop.{kind}.{action}" for kind in ("shelf", "item") for action in actions}
    fields = {row.name: row for row in words.fields(made, {"$ref": "#/components/schemas/Shelf"})}
    assert fields["height"].meaning == "Above the floor, in centimetres."
    assert made["components"]["schemas"]["Shelf"]["properties"]["height"]["title"] == "Height"
    create = calls["shop.shelf.create"].operation
    assert {"400", "409", "422"} <= create["responses"].keys()
    example = create["requestBody"]["content"]["application/json"]["example"]
    assert bench.ask("POST", "/api/shelves", example).status == 201
    names = {one["name"] for one in calls["shop.shelf.list"].operation["parameters"]}
    assert {"limit", "offset", "sort", "archived", "code", "height", "lit"} <= names
