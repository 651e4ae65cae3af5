"""An older log put back: nobody is told a wrong number, and everybody what to do."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from apps.audiences.tags import a_tag, encoded
from e2e.process import Client, eventually
from support.commands import Told, penstock
from support.process import Process

PROFILE = "/user_profiles/ann?time_range=2022-03-01T00:00:00_2022-03-01T00:10:00"
AGGREGATES = (
    "/aggregates?time_range=2022-03-01T00:00:00_2022-03-01T00:10:00&action=VIEW&aggregates=COUNT"
)
VIEWS = ("audiences.profiles", "audiences_tags")
TAG = encoded(a_tag(cookie="ann"))


def send(client: Client, count: int) -> None:
    for _ in range(count):
        assert client.post("/user_tags", TAG, Content_Type="application/json").status == 204


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


class Serving:
    """One process after the other on one data folder."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._process = Process(data)
        self.client = self._client()

    def _client(self) -> Client:
        return Client(urlsplit(self._process.url).port or 0)

    def stop(self) -> None:
        self.client.close()
        assert self._process.stop() == 0

    def start(self) -> Client:
        self._process = Process(self._data)
        self.client = self._client()
        return self.client

    def end(self) -> None:
        self.client.close()
        self._process.end()


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    made = Serving(tmp_path / "data")
    yield made
    made.end()


def silenced(client: Client, path: str) -> str:
    """Whether it is known why; nobody gets a number before that either."""
    answer = client.post(path)
    assert answer.status == 503, answer
    return "so" if answer.json["error"] == "disproved" else ""


def refused(client: Client) -> None:
    """Queries say what to do, readiness does too, and nobody gets a number."""
    for view, path in zip(VIEWS, (PROFILE, AGGREGATES), strict=True):
        eventually(partial(silenced, client, path))
        answer = client.post(path)
        assert (answer.status, answer.json["error"]) == (503, "disproved")
        assert f"`penstock rebuild {view} --from-scratch`" in answer.json["message"]
    eventually(lambda: "so" if set(client.get("/readyz").json["problems"]) == set(VIEWS) else "")
    assert client.get("/readyz").status == 503


def test_views_of_a_log_that_was_replaced_are_silent_until_they_are_rebuilt(
    serving: Serving, tmp_path: Path
) -> None:
    """Reliability 45: the same event, again and again, so that only the proof can tell."""
    data, client = tmp_path / "data", serving.client
    send(client, 2)
    serving.stop()
    shutil.copy(data / "log.db", tmp_path / "older.db")
    client = serving.start()
    send(client, 3)
    shows(client, 5)
    serving.stop()
    shutil.copy(tmp_path / "older.db", data / "log.db")

    client = serving.start()
    send(client, 2)  # fewer than were lost
    kept = rebuild(data, VIEWS[0])
    assert kept.status == 1, kept
    assert "less than what there is" in kept.out
    assert "--accept-loss" in kept.out
    send(client, 3)  # and more
    refused(client)
    serving.stop()
    client = serving.start()
    refused(client)
    told = penstock("doctor", "--data", data)
    assert told.status == 1
    assert all(f"`penstock rebuild {view} --from-scratch`" in told.out for view in VIEWS)
    for view in VIEWS:
        assert rebuild(data, view).status == 0
    shows(client, 7)
    client.until_ready()
    send(client, 1)
    shows(client, 8)
