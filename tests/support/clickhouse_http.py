"""A thin server that speaks ClickHouse's HTTP interface over the embedded engine.

`python -m support.clickhouse_http FOLDER PORT [CERTIFICATE]`. It knows a few users, of whom
`reader` may make nothing, and a few clusters of itself alone. What an embedded engine
cannot do is left out of statements, after the names in them were checked: `ON CLUSTER` and
`Replicated…`. `POST /faults` says what is to go wrong from now on.
"""

import base64
import json
import re
import ssl
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import chdb

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Two distributions have a `chdb/__init__.py`, and which one stays is chance: only one is typed.
connect: Callable[[str], Any] = chdb.connect

USER, PASSWORD = "penstock", "secret"
READER = "reader"
PASSWORDS = {USER: PASSWORD, READER: PASSWORD, "ödd us/er": "p@ss:w%rd/"}
CLUSTERS = {
    "one": (1, False),
    "copies": (1, True),
    "two_copies": (2, True),
    "two_hosts": (2, False),
}
"""How many replicas the one shard has, and whether it is said that they copy their rows. Rows go in
only where there is one: two would both be this engine, which would then have them twice."""

_SHARD = """<{name}><shard><internal_replication>{internal}</internal_replication>{replicas}</shard>
    </{name}>"""
_HOST = "<replica><host>{host}</host><port>9000</port></replica>"
_CONFIG = """<clickhouse>
  <tcp_port>9000</tcp_port>
  <macros><shard>1</shard><replica>first</replica></macros>
  <zookeeper>
    <implementation>testkeeper</implementation><node><host>localhost</host><port>2181</port></node>
  </zookeeper>
  <remote_servers>{clusters}</remote_servers>
</clickhouse>"""
"""The port stands for the engine itself: what lies there is not reached over the network."""

_INTERFACE = {
    "query", "database", "default_format", "query_id", "session_id", "wait_end_of_query",
    "client_protocol_version", "enable_http_compression", "send_progress_in_http_headers",
    "http_headers_progress_interval_ms", "user", "password",
}  # fmt: skip
"""Parameters of a request that are no settings."""
_STATUSES = {516: 403, 497: 403, 60: 404, 81: 404, 62: 400, 115: 404, 701: 400}

_ROWS = re.compile(
    rb"\s*INSERT\s+INTO\s+([\w.`]+(?:\s*\([^)]*\))?)\s+FORMAT\s+(\w+)[ \t]*\n?", re.IGNORECASE
)
_CODE = re.compile(r"Code: (\d+)\.")
_ON_CLUSTER = re.compile(rb" ON CLUSTER '([\w.-]+)'")
_REPLICATED = re.compile(rb"Replicated(\w*MergeTree)\('[^']*', '[^']*'(?:, )?")
_WINDOW = re.compile(rb"(,\s*)?\breplicated_deduplication_window_seconds = \d+")


class Refused(Exception):
    """ClickHouse's way to say no."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {message}")
        self.code = code


class Answer(NamedTuple):
    body: bytes
    rows: int
    """Rows read from the request; none for everything but an insert of rows."""


def configuration() -> str:
    hosts = (_HOST.format(host="127.0.0.1"), _HOST.format(host="localhost"))
    clusters = (
        _SHARD.format(name=name, internal=str(copied).lower(), replicas="".join(hosts[:replicas]))
        for name, (replicas, copied) in CLUSTERS.items()
    )
    return _CONFIG.format(clusters="".join(clusters))


class Faults:
    """What is to go wrong. Each is counted down as it happens."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lose = 0
        """Inserts that are done and never answered."""
        self.uncounted = 0
        """Inserts that are done and answered without a word on how many rows they were."""
        self.slow_seconds = 0.0

    def take(self, name: str) -> bool:
        with self.lock:
            left = int(getattr(self, name))
            if left > 0:
                setattr(self, name, left - 1)
            return left > 0


class Engine:
    """One engine, and a connection of its own for each request: as many sessions."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "config.xml"
        config.write_text(configuration())
        self._path = f"{folder / 'engine'}?config-file={config}"
        self._open = connect(self._path)

    def run(self, statement: bytes, parameters: dict[str, str]) -> Answer:
        settings = {name: value for name, value in parameters.items()
                    if name not in _INTERFACE and not name.startswith("param_")}  # fmt: skip
        bound = {name.removeprefix("param_"): value for name, value in parameters.items()
                 if name.startswith("param_")}  # fmt: skip
        connection = connect(self._path)
        try:
            if database := parameters.get("database"):
                connection.query(f"USE `{database}`")
            if settings:
                pairs = (f"{name} = {_quoted(value)}" for name, value in settings.items())
                connection.query(f"SET {', '.join(pairs)}")
            statement = _embeddable(statement)
            if rows := _ROWS.match(statement):
                return _insert(connection, rows, statement[rows.end() :])
            found = connection.query(statement.decode(), "TabSeparated", params=bound)
            return Answer(found.bytes(), 0)
        except RuntimeError as error:
            code, _, said = str(error).partition("DB::Exception: ")
            found = _CODE.search(code)
            raise Refused(int(found[1]) if found else 1000, said or code) from error
        finally:
            connection.close()


def _insert(connection: Any, found: re.Match[bytes], rows: bytes) -> Answer:
    with tempfile.NamedTemporaryFile() as file:
        file.write(rows)
        file.flush()
        table, form = found[1].decode(), found[2].decode()
        done = connection.query(f"INSERT INTO {table} FROM INFILE '{file.name}' FORMAT {form}")
    return Answer(b"", done.rows_read())


def _embeddable(statement: bytes) -> bytes:
    """The statement as a single host without replicas would have got it."""
    head, line, rest = (
        statement.partition(b"\n") if _ROWS.match(statement) else (statement, b"", b"")
    )
    for name in _ON_CLUSTER.findall(head):
        if name.decode() not in CLUSTERS:
            raise Refused(701, f"Requested cluster '{name.decode()}' not found.")
    head = _REPLICATED.sub(rb"\1(", _ON_CLUSTER.sub(b"", head))
    head = _WINDOW.sub(b"", head).replace(
        b" replicated_deduplication_window", b" non_replicated_deduplication_window"
    )
    return head + line + rest


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine: Engine
    faults: Faults

    def do_GET(self) -> None:
        if urlsplit(self.path).path == "/ping":
            self._answer(200, b"Ok.\n", {})
        else:
            self.do_POST()

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        body = self._body()
        if url.path == "/faults":
            vars(self.faults).update(json.loads(body))
            self._answer(200, b"", {})
            return
        time.sleep(self.faults.slow_seconds)
        parameters = dict(parse_qsl(url.query, keep_blank_values=True))
        statement = b"\n".join(
            part for part in (parameters.get("query", "").encode(), body) if part
        )
        began = time.monotonic_ns()
        try:
            user = self._authenticate()
            if user == READER and statement.lstrip().startswith(b"CREATE"):
                raise Refused(497, f"{user}: Not enough privileges. (ACCESS_DENIED)")
            answer = self.engine.run(statement, parameters)
        except Refused as refused:
            headers = {"X-ClickHouse-Exception-Code": str(refused.code)}
            self._answer(_STATUSES.get(refused.code, 500), f"{refused}\n".encode(), headers)
            return
        if answer.rows and self.faults.take("lose"):
            self.close_connection = True
            return
        rows = 0 if answer.rows and self.faults.take("uncounted") else answer.rows
        self._answer(200, answer.body, self._headers(rows, began, answer.body))

    def _authenticate(self) -> str:
        kind, _, coded = self.headers.get("Authorization", "").partition(" ")
        given = base64.b64decode(coded).decode() if kind == "Basic" else ""
        user, _, password = given.partition(":")
        if PASSWORDS.get(user) != password:
            raise Refused(
                516,
                f"{user}: Authentication failed: password is incorrect, or there is no user with "
                "such name. (AUTHENTICATION_FAILED)",
            )
        return user

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        match self.headers.get("Content-Encoding"):
            case "zstd":
                return bytes(zstd.decompress(body))
            case "gzip":
                return zlib.decompress(body, 31)
            case _:
                return body

    def _headers(self, rows: int, began: int, body: bytes) -> dict[str, str]:
        counts = {
            "read_rows": rows, "written_rows": rows, "result_rows": rows,
            "elapsed_ns": time.monotonic_ns() - began,
        }  # fmt: skip
        summary = json.dumps({name: str(count) for name, count in counts.items()})
        headers = {"X-ClickHouse-Summary": summary, "X-ClickHouse-Timezone": "UTC"}
        if body:
            headers["X-ClickHouse-Format"] = "TabSeparated"
        return headers

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        if "zstd" in self.headers.get("Accept-Encoding", "") and body:
            body = zstd.compress(body)
            headers = {**headers, "Content-Encoding": "zstd"}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its own name
        """The tests say what they see."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main(folder: str, port: str, certificate: str = "") -> None:
    Handler.engine, Handler.faults = Engine(Path(folder)), Faults()
    with Server(("127.0.0.1", int(port)), Handler) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
