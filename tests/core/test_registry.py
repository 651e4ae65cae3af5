"""The registry of Avro schemas, as one that speaks Confluent's protocol answers."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from penstock.core.errors import Misconfigured, NotReady
from penstock.core.events import Event
from penstock.core.log.kafka.formats import codec
from penstock.core.log.kafka.registry import Registry
from penstock.core.settings import Settings


class Named(Event, frozen=True, array_like=True, gc=False, tag="named/1"):
    name: str


class FakeRegistry(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.registered: list[tuple[str, str]] = []
        self.asked: list[str] = []
        self.users: list[str | None] = []
        self.refuses = False
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def end(self) -> None:
        self.shutdown()
        self.server_close()


class _Answers(BaseHTTPRequestHandler):
    server: FakeRegistry

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.refuses:
            self._answer(409, {"message": "incompatible"})
            return
        subject = self.path.split("/")[2]
        entry = (subject, body["schema"])
        if entry not in self.server.registered:
            self.server.registered.append(entry)
        self._answer(200, {"id": 1 + self.server.registered.index(entry)})

    def do_GET(self) -> None:
        number = int(self.path.rpartition("/")[2])
        if number > len(self.server.registered):
            self._answer(404, {"error_code": 40403})
        else:
            self._answer(200, {"schema": self.server.registered[number - 1][1]})

    def _answer(self, status: int, body: Any) -> None:
        self.server.asked.append(self.path)
        self.server.users.append(self.headers["Authorization"])
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Not a word."""


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    server = FakeRegistry()
    yield server
    server.end()


def settings_for(registry: FakeRegistry, folder: Path, **others: Any) -> Settings:
    url = f"http://{registry.address}"
    return Settings(
        data=str(folder), kafka_format="avro", **{"kafka_schema_registry": url, **others}
    )


def test_a_topic_s_schema_is_registered_once_and_its_number_frames_every_record(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    records = codec(settings_for(registry, tmp_path), "tests.names", (Named,))
    assert records.encode(Named("x")) == b"\x00\x00\x00\x00\x01\x02x\x00"
    assert records.decode(b"\x00\x00\x00\x00\x01\x02y\x00") == Named("y")
    [(subject, schema)] = registry.registered
    assert subject == "tests.names-value"
    assert json.loads(schema)["fields"] == [
        {"name": "name", "type": "string"},
        {"name": "project", "type": "string", "default": ""},
    ]


def test_a_start_needs_no_registry_for_what_it_has_registered(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    settings = settings_for(registry, tmp_path)
    written = codec(settings, "tests.names", (Named,)).encode(Named("x"))
    registry.end()
    assert codec(settings, "tests.names", (Named,)).encode(Named("x")) == written


def test_a_registry_that_is_away_or_refuses_stops_the_start(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    registry.refuses = True
    with pytest.raises(Misconfigured, match=r"KAFKA_SCHEMA_REGISTRY.*incompatible"):
        codec(settings_for(registry, tmp_path), "tests.names", (Named,))
    registry.end()
    with pytest.raises(Misconfigured, match=r"KAFKA_SCHEMA_REGISTRY.* does not answer"):
        codec(settings_for(registry, tmp_path), "tests.names", (Named,))


def test_a_schema_nobody_knows_is_one_thing_and_a_registry_that_is_away_another(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    client = Registry(f"http://{registry.address}", "tests.names-value", tmp_path / "kept")
    with pytest.raises(LookupError):
        client.schema(7)
    registry.end()
    with pytest.raises(NotReady, match="schema registry"):
        client.schema(7)


def test_user_and_password_are_sent_and_not_told(registry: FakeRegistry, tmp_path: Path) -> None:
    url = f"http://me:s%40cret@{registry.address}"
    client = Registry(url, "tests.names-value", tmp_path / "kept")
    client.number('"string"')
    assert registry.users == ["Basic bWU6c0BjcmV0"]
    registry.end()
    with pytest.raises(NotReady) as refusal:
        client.schema(1)
    assert "cret" not in str(refusal.value)
