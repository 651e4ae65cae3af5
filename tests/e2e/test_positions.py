"""An older log put back: nobody is told a wrong number, and everybody what to do."""

import shutil
from pathlib import Path

from apps.audiences.tags import a_tag, encoded
from e2e.process import Client, Server, eventually
from support.commands import Told, penstock

PROFILE = "/user_profiles/ann?time_range=2022-03-01T00:00:00_2022-03-01T00:10:00"
AGGREGATES = (
    "/aggregates?time_range=2022-03-01T00:00:00_2022-03-01T00:10:00&action=VIEW&aggregates=COUNT"
)
VIEWS = ("audiences.profiles", "audiences_tags")
TAG = encoded(a_tag(cookie="ann"))


def send(client: Client, count: int) -> None:
    for _ in range(count):
        assert client.post("/user_tags", TAG).status == 204


def shown(client: Client) -> tuple[int, int]:
    """Views of the profile, and how many the aggregates count."""
    profile, aggregates = client.post(PROFILE), client.post(AGGREGATES)
    assert (profile.status, aggregates.status) == (200, 200)
    rows = aggregates.json["rows"]
    return len(profile.json["views"]), sum(int(row[2]) for row in rows)


def shows(client: Client, count: int) -> None:
    eventually(lambda: "yes" if shown(client) == (count, count) else "")


def rebuild(data: Path, view: str, *options: str) -> Told:
    return penstock("rebuild", view, "--from-scratch", "--data", data, *options)


def test_views_of_a_log_that_was_replaced_are_silent_until_they_are_rebuilt(
    tmp_path: Path,
) -> None:
    """Reliability 45: the same event, again and again, so that only the proof can tell."""
    data, servers = tmp_path / "data", [Server(tmp_path / "data")]
    try:
        send(servers[-1].client(), 2)
        assert servers[-1].stop() == 0
        shutil.copy(data / "log.db", tmp_path / "older.db")
        servers.append(Server(data))
        client = servers[-1].client()
        send(client, 5)
        shows(client, 7)
        assert servers[-1].stop() == 0
        shutil.copy(tmp_path / "older.db", data / "log.db")

        for sent in (3, 4):  # fewer than were lost, then more; and a restart each time
            servers.append(Server(data))
            client = servers[-1].client()
            send(client, sent)
            refused = [client.post(path) for path in (PROFILE, AGGREGATES)]
            for view, answer in zip(VIEWS, refused, strict=True):
                assert (answer.status, answer.json["code"]) == (503, "disproved")
                assert f"`penstock rebuild {view} --from-scratch`" in answer.json["message"]
            ready = client.get("/readyz")
            assert ready.status == 503
            assert set(VIEWS) == set(ready.json["problems"])
            told = penstock("doctor", "--data", data)
            assert told.status == 1
            assert all(f"`penstock rebuild {view} --from-scratch`" in told.out for view in VIEWS)
            if sent == 3:
                kept = rebuild(data, VIEWS[0])
                assert kept.status == 1, kept
                assert "less than what there is" in kept.out
                assert "--accept-loss" in kept.out
            assert servers[-1].stop() == 0
        told = penstock("doctor", "--data", data)
        assert all(f"`penstock rebuild {view} --from-scratch`" in told.out for view in VIEWS)

        servers.append(Server(data))
        client = servers[-1].client()
        for view in VIEWS:
            assert rebuild(data, view).status == 0
        shows(client, 9)
        assert client.get("/readyz").status == 200
        send(client, 1)
        shows(client, 10)
    finally:
        for server in servers:
            server.kill()
