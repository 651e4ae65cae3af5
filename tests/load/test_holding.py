"""Before a run the server is asked whether it is empty; afterwards what was refused has a name."""

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import trustme
from click.testing import CliRunner, Result

from penstock.load.cli import load

AUTHORITY = trustme.CA()
PATIENCE_SECONDS = 60.0
REFUSAL = (503, {"error": "overloaded", "message": "try again"})
Answers = Mapping[str, tuple[int, object]]
"""By the first part of the path."""


def pipeline(tags: int | None) -> tuple[int, object]:
    others = {"topic": "tracking.events", "end": 7}
    return 200, {"log": {}, "topics": [others, {"topic": "audiences.tags", "end": tags}]}


@contextmanager
def answering(answers: Answers, context: ssl.SSLContext | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = answers.get(self.path.split("?")[0].split("/")[1], (404, {}))
            encoded = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        do_POST = do_GET  # noqa: N815 - as `http.server` looks for it

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

        def handle_error(self, *_: object) -> None: ...  # clients that do not believe it

    with Server(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        scheme = "http" if context is None else "https"
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def run(url: str, *options: str) -> Result:
    words = f"audiences smoke --rate 20 --duration 0.5 --cookies 10 --tail-wait 0 --url {url}"
    return CliRunner().invoke(load, [*words.split(), *options])


@pytest.mark.parametrize(
    ("held", "options", "said"),
    [
        (140, (), "holds 140 tags already"),
        (140, ("--start-index", "141"), "holds 140 tags, and --start-index says 141"),
        (0, ("--start-index", "1"), "holds 0 tags, and --start-index says 1"),
    ],
)
def test_a_server_that_holds_other_events_is_named_with_the_remedy(
    held: int, options: tuple[str, ...], said: str
) -> None:
    with answering({"api": pipeline(held)}) as url:
        result = run(url, *options)
    assert result.exit_code == 1
    assert said in result.output
    if not options:
        assert "penstock serve --data data-load --port 8090" in result.output


@pytest.mark.parametrize("answer", [(404, {}), (403, {"error": "x"}), pipeline(None), (200, [])])
def test_who_cannot_be_asked_is_trusted_and_that_is_told(answer: tuple[int, object]) -> None:
    with answering({"api": answer, "user_tags": REFUSAL}) as url:
        result = run(url)
    assert f"cannot be asked: {url}/api/pipeline says {answer[0]}" in result.output
    assert "no tag was accepted" in result.output


def test_what_was_refused_is_counted_by_its_code(tmp_path: Path) -> None:
    answers = {
        "api": pipeline(0),
        "user_tags": REFUSAL,
        "user_profiles": (400, {"error": "bad_parameter", "message": "no"}),
        "aggregates": (502, "a proxy's page"),
    }
    with answering(answers) as url:
        result = run(url, "--profile-wait", "0", "--json", str(tmp_path / "report.json"))
    assert result.exit_code == 1
    report = json.loads((tmp_path / "report.json").read_text())
    told = {name: operation["failures"] for name, operation in report["operations"].items()}
    assert told["user_tags"] == {"503 overloaded": 10}
    assert list(told["user_profiles"]) == ["400 bad_parameter"]
    assert list(told["tail_aggregates"]) == ["502 without a code"]
    assert "not perfect: user_tags: 10 of 10 requests failed: 10 503 overloaded" in result.output


def test_who_is_not_answered_in_time_is_told_what_time_that_was() -> None:
    over = Event()

    class Slow(dict[str, tuple[int, object]]):
        def get(self, name: str, default: Any = None) -> Any:
            if name == "user_tags":
                over.wait(PATIENCE_SECONDS)
            return super().get(name, default)

    with answering(Slow({"api": pipeline(0), "user_tags": REFUSAL})) as url:
        result = run(url, "--profile-wait", "0", "--timeouts", "0.05", "60", "60")
        over.set()
    assert result.exit_code == 1
    told = " ".join(result.output.split())
    assert "10 timeout, no answer within 0.05 s; --timeouts waits longer" in told


def test_a_server_behind_tls_is_spoken_to_by_who_believes_its_certificate(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / "broken.pem").write_text("no certificate")
    with answering({"api": pipeline(0), "user_tags": REFUSAL}, context) as url:
        believed = run(url, "--ca", str(tmp_path / "ca.pem"))
        stranger = run(url)
        broken = run(url, "--ca", str(tmp_path / "broken.pem"))
        plain = run(url.replace("https", "http"))
    assert "10 503 overloaded" in believed.output
    for result, said in (
        (stranger, "certificate verify failed"),
        (broken, "broken.pem cannot be used"),
        (plain, "does it speak http:// or https://"),
    ):
        assert result.exit_code == 1
        assert said in result.output
    assert "--ca names the certificates" in stranger.output
