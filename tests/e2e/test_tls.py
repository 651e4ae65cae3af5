"""TLS: the same answers through it, nothing without it, and the operator's tools know the way."""

import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from apps.audiences.tags import Tag, a_tag, encoded
from e2e.certificates import AUTHORITY, connect, healthy, pair, penstock, trusting
from e2e.process import (
    PATIENCE_SECONDS,
    Server,
    eventually,
)

RANGE = "time_range=2022-03-01T00:00:00_2022-03-01T00:10:00"
COUNTS = f"/aggregates?{RANGE}&action=VIEW&aggregates=COUNT"


@pytest.fixture(scope="module", params=["remembered", "parsed"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("tls")
    options = ["--forget-heads"] if request.param == "parsed" else []
    environment = {f"PENSTOCK_{n.upper()}": v for n, v in pair(folder).environment.items()}
    running = Server(folder / "data", *options, environment=environment)
    yield running
    running.kill()


def client(server: Server) -> HTTPSConnection:
    return HTTPSConnection("127.0.0.1", server.port, timeout=PATIENCE_SECONDS, context=trusting())


def ask(connection: HTTPSConnection, target: str, body: bytes = b"") -> tuple[int, bytes]:
    connection.request("POST", target, body)
    response = connection.getresponse()
    return response.status, response.read()


def views(connection: HTTPSConnection, cookie: str) -> list[Tag]:
    listed: list[Tag] = json.loads(ask(connection, f"/user_profiles/{cookie}?{RANGE}")[1])["views"]
    return listed


# -- clients ------------------------------------------------------------------------------------


def test_the_address_that_is_announced_says_https(server: Server) -> None:
    assert f"serves https://127.0.0.1:{server.port}\n" in server.said()


def test_a_connection_over_tls_lives_on_and_answers_for_what_it_was_given(server: Server) -> None:
    connection = client(server)
    tags = [a_tag(cookie="kept", time=f"2022-03-01T00:00:0{n}.000Z") for n in range(5)]
    connection.connect()
    held = connection.sock
    for tag in tags:
        assert ask(connection, "/user_tags", encoded(tag)) == (204, b"")
    assert views(connection, "kept") == tags[::-1]
    assert connection.sock is held
    connection.close()


def test_requests_piped_over_tls_are_answered_in_their_order(server: Server) -> None:
    def post(body: bytes, target: str = "/user_tags") -> bytes:
        return (
            f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )

    good = encoded(a_tag(cookie="piped"))
    sent = [
        post(good),
        post(b"{"),
        post(b"", "/nowhere"),
        post(b"", f"/user_profiles/piped?{RANGE}"),
        post(good),
    ]
    with connect(server) as connection:
        connection.sendall(b"".join(sent))
        got = b""
        while got.count(b"HTTP/1.1 ") < len(sent) and (piece := connection.recv(65_536)):
            got += piece
    assert re.findall(rb"HTTP/1\.1 (\d+)", got) == [b"204", b"400", b"404", b"200", b"204"]


def test_a_body_larger_than_a_record_of_tls_comes_through(server: Server) -> None:
    connection = client(server)
    batch = b"\n".join(encoded(a_tag(cookie="large", product_id=n)) for n in range(1_000))
    assert len(batch) > 16_384 * 4
    assert ask(connection, "/user_tags/batch", batch)[0] == 200
    assert len(views(connection, "large")) == 200
    connection.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /user_tags HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        b"\x16\x03\x01\x00\x05hello",
        b"\0" * 2_000,
    ],
)
def test_a_client_without_tls_gets_nothing_and_does_no_harm(server: Server, sent: bytes) -> None:
    with connect(server) as bystander:
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as plain:
            plain.sendall(sent)
            assert b"HTTP" not in until_closed(plain)
        bystander.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert bystander.recv(65_536).startswith(b"HTTP/1.1 200 ")
    assert healthy(server)
    assert "Traceback" not in server.said()


def until_closed(connection: socket.socket) -> bytes:
    """Everything but a reset; a silent server fails the test by the socket's timeout."""
    got = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(65_536):
            got += piece
    return got


def test_a_client_that_stops_in_the_middle_of_the_handshake_does_no_harm(server: Server) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for connection in silent[::2]:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01")
    assert healthy(server)
    for connection in silent:
        connection.close()
    assert healthy(server)
    assert "Traceback" not in server.said()


def test_a_client_that_does_not_finish_its_handshake_is_hung_up_on(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve(**pair(tmp_path).environment, head_seconds_max="0.5")
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as silent:
        assert until_closed(silent) == b""  # a server without this bound keeps it for a minute
    assert healthy(server)
    assert "Traceback" not in server.said()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_modern_versions_of_tls_are_spoken(server: Server, version: ssl.TLSVersion) -> None:
    context = trusting()
    context.minimum_version = context.maximum_version = version
    with connect(server, context) as connection:
        assert connection.version() == version.name.replace("_", ".")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_1_1_is_refused_by_the_server(server: Server) -> None:
    old = trusting()
    old.set_ciphers("ALL:@SECLEVEL=0")  # or the client would not even offer it
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    lenient = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    lenient.set_ciphers("ALL:@SECLEVEL=0")
    lenient.minimum_version = ssl.TLSVersion.TLSv1_1
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(lenient)
    assert agreed(old, lenient) == "TLSv1.1"
    with pytest.raises(ssl.SSLError):
        connect(server, old).close()
    assert healthy(server)


def agreed(client: ssl.SSLContext, server: ssl.SSLContext) -> str | None:
    """The version that the two would speak."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(down, up, server_hostname="127.0.0.1")
    answering = server.wrap_bio(up, down, server_side=True)
    for end in (asking, answering) * 3:
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return asking.version()


# -- the process and its tools ------------------------------------------------------------------

Serve = Callable[..., Server]


def test_the_tools_reach_the_serving_process_over_tls(serve: Serve, tmp_path: Path) -> None:
    server = serve(**pair(tmp_path).environment)
    connection = client(server)
    assert ask(connection, "/user_tags", encoded(a_tag()))[0] == 204
    connection.close()
    topics = penstock(tmp_path / "data", "topics")
    assert topics.returncode == 0, topics.stderr
    assert "audiences.tags" in topics.stdout
    assert penstock(tmp_path / "data", "dead-letters", "list").returncode == 0
    rebuilt = penstock(tmp_path / "data", "rebuild", "audiences.profiles")
    assert (rebuilt.returncode, "1 records, swapped in" in rebuilt.stdout) == (0, True)


def test_the_tools_believe_the_certificate_of_the_start_when_the_file_holds_the_next(
    serve: Serve, tmp_path: Path
) -> None:
    serve(**pair(tmp_path).environment)
    pair(tmp_path)
    topics = penstock(tmp_path / "data", "topics")
    assert topics.returncode == 0, topics.stderr


def test_the_tools_still_work_when_the_certificate_has_expired(
    serve: Serve, tmp_path: Path
) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    server = serve(**pair(tmp_path, valid_until=yesterday).environment)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        connect(server).close()
    assert penstock(tmp_path / "data", "topics").returncode == 0


def test_the_tools_tell_their_token_to_no_other_certificate_of_the_same_authority(
    serve: Serve, tmp_path: Path
) -> None:
    serve(**pair(tmp_path).environment)
    door = tmp_path / "data" / "control.json"
    told = json.loads(door.read_text())
    # Only the server's own: whoever believes the authority in its file believes all it signed.
    assert told["certificate"].count("BEGIN CERTIFICATE") == 1
    own, _, _ = pair(tmp_path, name="other").certificate.read_text().partition("-----END")
    other = f"{own}-----END CERTIFICATE-----\n"
    door.write_text(json.dumps({**told, "certificate": other}))
    refused = penstock(tmp_path / "data", "topics")
    assert refused.returncode == 2
    assert "in use by process" in refused.stderr
    door.write_text(json.dumps(told))
    assert penstock(tmp_path / "data", "topics").returncode == 0


def test_the_demo_feeds_itself_over_tls(serve: Serve, tmp_path: Path) -> None:
    server = serve("--demo", **pair(tmp_path).environment)
    with connect(server) as connection:

        def stored() -> str:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            got = connection.recv(1 << 20)
            while b"penstock_projection_lag_seconds" not in got:
                got += connection.recv(1 << 20)
            found = re.search(rb"penstock_events_stored_total\{[^}]*\} ([1-9]\d*)", got)
            time.sleep(0.1)
            return found[1].decode() if found else ""

        assert eventually(stored)


def test_a_stop_does_not_wait_for_clients_that_keep_their_connection(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve(**pair(tmp_path).environment, drain_seconds_max="600")
    idle = [connect(server) for _ in range(3)]
    assert healthy(server)
    assert server.stop() == 0
    assert "Traceback" not in server.said()
    for connection in idle:
        connection.close()


def test_after_a_restart_the_new_certificate_is_shown(serve: Serve, tmp_path: Path) -> None:
    shown = []
    for _ in range(2):
        server = serve(**pair(tmp_path).environment)
        with connect(server) as connection:
            shown.append(connection.getpeercert(binary_form=True))
        assert server.stop() == 0
    assert shown[0] != shown[1]


def test_connections_that_never_shake_hands_take_nobodys_place(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve(**pair(tmp_path).environment, connections_max="8", head_seconds_max="30")
    mute = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
    assert healthy(server)
    for connection in mute:
        connection.close()
