"""The command line, as an operator meets it: start, stop, restart, roles and mistakes."""

import json
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.audiences.tags import Tag, a_tag, encoded
from e2e.process import Client, Server, eventually, failing

Serve = Callable[..., Server]
RANGE = "time_range=2022-03-01T00:00:00_2022-03-01T00:10:00"
COUNTS = f"/aggregates?{RANGE}&action=VIEW&aggregates=COUNT"
FRESH_SECONDS = 60.0


def post(client: Client, tag: Tag) -> None:
    assert client.post("/user_tags", encoded(tag)).status == 204


def views(client: Client, cookie: str) -> list[Tag]:
    listed: list[Tag] = client.post(f"/user_profiles/{cookie}?{RANGE}").json["views"]
    return listed


def total(client: Client) -> int:
    return sum(int(row[-1]) for row in client.post(COUNTS).json["rows"])


def wait_for_total(client: Client, expected: int) -> None:
    """Within the freshness bound, and never beyond what is expected."""
    until = time.monotonic() + FRESH_SECONDS
    while (found := total(client)) != expected:
        assert found < expected
        assert time.monotonic() < until
        time.sleep(0.05)


def tags(count: int, start: int = 0) -> list[Tag]:
    return [
        a_tag(time=f"2022-03-01T00:00:{n // 1000:02d}.{n % 1000:03d}Z", cookie=f"c{n % 5}")
        for n in range(start, start + count)
    ]


def test_au_110_one_command_takes_a_tag_answers_for_it_and_ends_with_0(serve: Serve) -> None:
    server = serve()
    client = server.client()
    client.until_ready()
    assert client.get("/healthz").status == 200
    tag = a_tag(cookie="first")
    post(client, tag)
    assert views(client, "first") == [tag]
    wait_for_total(client, 1)
    metrics = client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert b'penstock_events_stored_total{topic="audiences.tags"} 1.0' in metrics.body
    pipeline = client.get("/api/pipeline").json
    assert [topic["end"] for topic in pipeline["topics"]] == [1]
    assert {stage["state"] for stage in pipeline["projections"]} == {"running"}
    client.close()
    assert server.stop() == 0
    assert "Traceback" not in server.said()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_au_25_a_stop_loses_nothing_that_was_acknowledged(serve: Serve, number: int) -> None:
    first = serve(log_format="console")
    client = first.client()
    for tag in tags(200):
        post(client, tag)
    for _ in range(2):
        client.post("/user_tags", encoded(a_tag(action="BUY")), idempotency_key="once")
    assert first.stop(number) == 0
    stopping, stopped = first.said().splitlines()[-2:]
    assert stopping.startswith("stopping: ")
    assert "202 requests answered, 201 events stored; everything is in /" in stopped
    assert re.search(r"to go on: \S*penstock serve --data", stopped)
    client = serve().client()
    wait_for_total(client, 200)
    assert views(client, "c0") == tags(200)[195::-5]


def test_au_86_a_kill_at_any_moment_loses_and_repeats_nothing(serve: Serve) -> None:
    sent = 0
    for pause_seconds in (0.0, 0.05, 0.3):
        server = serve()
        client = server.client()
        for tag in tags(100, start=sent):
            post(client, tag)
        sent += 100
        time.sleep(pause_seconds)
        server.kill()
    client = serve().client()
    wait_for_total(client, sent)
    assert len([tag for n in range(5) for tag in views(client, f"c{n}")]) == sent


def test_au_82_tags_posted_to_the_edge_become_visible_at_the_other_process(serve: Serve) -> None:
    edge = serve("--role", "edge")
    work = serve("--role", "api", "--role", "work")
    to_edge, to_work = edge.client(), work.client()
    to_edge.until_ready()
    to_work.until_ready()
    assert to_edge.post(COUNTS).status == 404
    assert to_work.post("/user_tags", encoded(a_tag())).status == 404
    for tag in tags(50):
        post(to_edge, tag)
    wait_for_total(to_work, 50)
    eventually(lambda: "seen" if len(views(to_work, "c1")) == 10 else "")
    assert views(to_work, "c1") == tags(50)[46::-5]
    assert b'penstock_events_stored_total{topic="audiences.tags"} 50.0' in (
        to_edge.get("/metrics").body
    )
    assert (work.stop(), edge.stop()) == (0, 0)


def test_au_86_either_role_may_end_and_come_back(serve: Serve) -> None:
    edge = serve("--role", "edge")
    work = serve("--role", "api", "--role", "work")
    for tag in tags(50):
        post(edge.client(), tag)
    work.kill()
    for tag in tags(50, start=50):
        post(edge.client(), tag)
    edge.kill()
    work = serve("--role", "api", "--role", "work")
    wait_for_total(work.client(), 100)
    edge = serve("--role", "edge")
    for tag in tags(50, start=100):
        post(edge.client(), tag)
    wait_for_total(work.client(), 150)


# -- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value", "hint"),
    [
        ("PENSTOCK_PROT", "8080", "PENSTOCK_PORT"),
        ("PENSTOCK_AUDIENCES_QUERY_DEBG", "on", "PENSTOCK_AUDIENCES_QUERY_DEBUG"),
        ("PENSTOCK_DRAIN_SECONDS_MAX", "soon", "PENSTOCK_DRAIN_SECONDS_MAX"),
        ("PENSTOCK_HEAD_BYTES_MAX", "0", "PENSTOCK_HEAD_BYTES_MAX"),
        ("PENSTOCK_AUDIENCES_QUERY_DEBUG", "perhaps", "PENSTOCK_AUDIENCES_QUERY_DEBUG"),
        ("PENSTOCK_CONFIG", "/nowhere/penstock.toml", "PENSTOCK_CONFIG"),
    ],
)
def test_a_wrong_setting_stops_the_start_and_is_named(
    tmp_path: Path, variable: str, value: str, hint: str
) -> None:
    status, said = failing(tmp_path / "data", environment={variable: value})
    assert status == 2
    assert hint in said
    assert len(said.strip().splitlines()) == 1


def test_a_port_in_use_stops_the_start_and_says_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, said = failing(tmp_path / "data", "--port", port)
    assert status == 2
    assert port in said
    assert "--port" in said
    assert "Traceback" not in said
    assert not (tmp_path / "data").exists(), "a start that cannot be leaves nothing behind"


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_that_is_none_is_refused(tmp_path: Path, port: str) -> None:
    status, said = failing(tmp_path / "data", "--port", port)
    assert status == 2
    assert "port" in said.lower()
    assert "Traceback" not in said


def test_a_folder_in_use_is_left_alone(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    status, said = failing(tmp_path / "data")
    assert status == 2
    assert str(server.process.pid) in said
    server.client().until_ready()


def test_a_role_without_its_log_says_what_is_missing(tmp_path: Path) -> None:
    status, said = failing(tmp_path / "data", "--role", "api", "--role", "work")
    assert status == 2
    assert "log" in said
    assert "Traceback" not in said


def test_settings_come_from_a_file_the_environment_and_the_command_line(
    serve: Serve, tmp_path: Path
) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text('log_level = "error"\n[audiences]\nmax_future_skew_hours = 1\n')
    quiet = serve(config=str(file), audiences_max_future_skew_hours="0").client()
    assert quiet.post("/user_tags", encoded(a_tag(time="9999-01-01T00:00:00Z"))).status == 204
    assert quiet.post("/user_tags", b"{").status == 400


def test_au_112_lines_are_json_one_for_each_failed_request(serve: Serve) -> None:
    server = serve(log_format="json", trusted_proxies="127.0.0.1")
    client = server.client()
    post(client, a_tag())
    assert client.post("/user_tags", b"{", x_request_id="mine").status == 400
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.said().splitlines() if line.startswith("{")]
    refused = [line for line in lines if line["level"] != "info"]
    assert [(line["status"], line["request_id"]) for line in refused] == [(400, "mine")]
    stopping, stopped = (line for line in lines if line["level"] == "info")
    assert stopping["event"] == "process.stopping"
    assert stopped["event"] == "process.stopped"
    assert (stopped["requests"], stopped["events"]) == (2, 1)
