"""HTTP as it comes over a socket: the same answers whether heads are remembered or parsed anew."""

import re
import socket
import threading
from urllib.parse import quote

import pytest

from apps.audiences.tags import Tag, a_tag, encoded
from e2e.process import PATIENCE_SECONDS, Client, Server

RANGE = "time_range=2022-03-01T00:00:00_2022-03-01T00:10:00"
GOOD = encoded(a_tag(cookie="wire"))
KIB_64 = 65_536


def views(client: Client, cookie: str) -> list[Tag]:
    listed: list[Tag] = client.post(f"/user_profiles/{quote(cookie, safe='')}?{RANGE}").json[
        "views"
    ]
    return listed


def exchange(server: Server, sent: bytes, answers: int = 1, *, pieces: int = 1) -> list[bytes]:
    """Statuses of the answers to these bytes, in order; fewer when the server hung up."""
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as connection:
        size = len(sent) // pieces + 1
        for start in range(0, len(sent), size):
            connection.sendall(sent[start : start + size])
        got = b""
        while got.count(b"HTTP/1.1 ") < answers and (piece := connection.recv(65_536)):
            got += piece
    return re.findall(rb"HTTP/1\.1 (\d+)", got)


def request(target: str, body: bytes, *headers: str, method: str = "POST") -> bytes:
    head = [f"{method} {target} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def test_au_24_the_204_has_no_body_and_the_connection_lives_on(server: Server) -> None:
    client = server.client()
    for _ in range(3):
        answer = client.post("/user_tags", GOOD, content_type="application/json")
        assert (answer.status, answer.body) == (204, b"")
        assert "content-length" not in answer.headers
        assert answer.headers.get("connection") != "close"


@pytest.mark.parametrize(
    ("target", "body", "headers", "status", "code"),
    [
        ("/user_tags", b"{", {}, 400, "bad_json"),
        ("/user_tags", b"", {}, 400, "bad_json"),
        ("/user_tags", GOOD, {"content_type": "text/plain"}, 415, "unsupported_type"),
        ("/user_tags", GOOD, {"content_encoding": "compress"}, 415, "unsupported_type"),
        ("/user_tags", b" " * (KIB_64 + 1), {}, 413, "too_large"),
        ("/user_tags", GOOD, {"x_big": "x" * 20_000}, 431, "too_large"),
        ("/user_tags", GOOD, {"idempotency_key": "a b"}, 400, "bad_field"),
        ("/user_tags/batch", b"\n".join([GOOD] * 1001), {}, 413, "too_large"),
        ("/user_tags/", GOOD, {}, 404, "not_found"),
        ("/user_profiles/", b"", {}, 404, "not_found"),
    ],
)  # fmt: skip
def test_au_15_errors_are_the_same_on_either_way_in(
    server: Server, target: str, body: bytes, *, headers: dict[str, str], status: int, code: str
) -> None:
    client = server.client()
    for more in ({}, {"connection": "close"}):
        answer = client.post(target, body, **headers, **more)
        assert (answer.status, answer.json["error"]) == (status, code)
        assert list(answer.json) == ["error", "message"]
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-request-id"]


def test_au_01_a_wrong_method_names_the_right_one(server: Server) -> None:
    answer = server.client().get("/user_tags")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("pieces", [1, 2, 5, 40])
def test_au_01_a_request_may_come_in_pieces(server: Server, pieces: int) -> None:
    assert exchange(server, request("/user_tags", GOOD), pieces=pieces) == [b"204"]


def test_au_01_a_chunked_body_is_a_body(server: Server) -> None:
    head = b"POST /user_tags HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    for body, status in ((GOOD, b"204"), (b" " * (KIB_64 + 1), b"413")):
        middle = len(body) // 2
        chunks = b"".join(
            b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:middle], body[middle:])
        )
        assert exchange(server, head + chunks + b"0\r\n\r\n") == [status]


def test_au_01_pipelined_requests_are_answered_in_their_order(server: Server) -> None:
    profile = request(f"/user_profiles/piped?{RANGE}", b"")
    sent = [
        request("/user_tags", GOOD), request("/user_tags", b"{"), profile,
        request("/user_tags", GOOD), request("/nowhere", b""), request("/user_tags", GOOD),
    ]  # fmt: skip
    assert exchange(server, b"".join(sent), len(sent)) == [
        b"204",
        b"400",
        b"200",
        b"204",
        b"404",
        b"204",
    ]


def test_au_50_a_pipelined_profile_sees_the_tag_before_it(server: Server) -> None:
    tag = a_tag(cookie="ahead")
    profile = request(f"/user_profiles/ahead?{RANGE}", b"", "Connection: close")
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as connection:
        connection.sendall(request("/user_tags", encoded(tag)) + profile)
        got = b""
        while piece := connection.recv(65_536):
            got += piece
    assert got.endswith(encoded({"cookie": "ahead", "views": [tag], "buys": []}))


@pytest.mark.parametrize("cookie", ["a/b", "a+b", "żółć", "%2F", "\0", "a?b#c", "😀", ".."])
def test_au_49_cookies_survive_the_wire(server: Server, cookie: str) -> None:
    client = server.client()
    tag = a_tag(cookie=cookie)
    assert client.post("/user_tags", encoded(tag)).status == 204
    assert tag in views(client, cookie)


def test_au_28_a_repeat_under_its_key_is_stored_once(server: Server) -> None:
    client = server.client()
    for _ in range(3):
        answer = client.post("/user_tags", encoded(a_tag(cookie="once")), idempotency_key="wire")
        assert answer.status == 204
    assert len(views(client, "once")) == 1


def test_au_101_a_large_expected_answer_is_drained(server: Server) -> None:
    client = server.client()
    for size, status in ((1_048_576, 200), (0, 200), (1_048_577, 413)):
        answer = client.post(f"/user_profiles/nobody?{RANGE}", b"x" * size)
        assert answer.status == status
    assert server.client().get("/healthz").status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"NONSENSE\r\n\r\n",
        b"POST /user_tags HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"\x16\x03\x01" * 9,
    ],
)
def test_au_01_what_is_not_http_is_answered_400_and_hurts_nobody(
    server: Server, sent: bytes
) -> None:
    assert exchange(server, sent) in ([b"400"], [])
    assert server.client().get("/healthz").status == 200


def test_au_26_a_client_that_hangs_up_leaves_nothing_half_done(server: Server) -> None:
    whole = request("/user_tags", encoded(a_tag(cookie="gone")))
    for cut in (10, len(whole) // 2, len(whole) - 1):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(whole[:cut])
    client = server.client()
    assert views(client, "gone") == []
    assert b"\npenstock_requests_in_flight 1.0\n" in client.get("/metrics").body


def test_au_145_many_clients_at_once_are_each_counted_once(server: Server) -> None:
    statuses: list[int] = []

    def send(worker: int) -> None:
        client = server.client()
        for n in range(50):
            tag = a_tag(cookie=f"many-{worker}", product_id=n, origin="many")
            statuses.append(client.post("/user_tags", encoded(tag)).status)
        client.close()

    threads = [threading.Thread(target=send, args=[worker]) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [204] * 400
    client = server.client()
    for worker in range(8):
        products = [view["product_info"]["product_id"] for view in views(client, f"many-{worker}")]
        assert products == list(range(49, -1, -1))
