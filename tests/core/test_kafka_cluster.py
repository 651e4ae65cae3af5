"""Asking brokers that say nothing: the question ends, whatever others do with the client."""

import gc
import socket
import threading
import time
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined] # it is

from penstock.core.errors import NotReady
from penstock.core.log.kafka.address import client, properties
from penstock.core.log.kafka.cluster import Cluster
from penstock.core.log.kafka.ends import Ends
from support.lines import Lines

PATIENCE_SECONDS = 60.0


def test_a_question_ends_also_when_another_one_had_the_client_replaced() -> None:
    """A client that nobody holds is gone, and with it the answers that it owed."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cluster = Cluster(properties(f"kafka://127.0.0.1:{silent.getsockname()[1]}"))
        ended = threading.Event()

        def ask() -> None:
            with pytest.raises(NotReady):
                cluster.ends([("topic", 0)])
            ended.set()

        threading.Thread(target=ask, daemon=True).start()
        time.sleep(0.3)
        cluster._admin = client(AdminClient, cluster._properties)  # as after a leader's change
        gc.collect()
        assert ended.wait(PATIENCE_SECONDS)


class Absent:
    """An answer that librdkafka gives while a partition's broker is away."""

    offset = -1001


def test_an_offset_that_is_none_is_no_answer_and_the_last_known_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines, known = Lines(), [7]
    cluster = Cluster(properties("kafka://127.0.0.1:1"))

    def answer(places: dict[TopicPartition, OffsetSpec], **_: object) -> dict[Any, Future[Any]]:
        answers = {}
        for place in places:
            answers[place] = Future[Any]()
            found = SimpleNamespace(offset=known[0]) if known else Absent()
            answers[place].set_result(found)
        return answers

    asked = SimpleNamespace(list_offsets=answer, poll=lambda _: 0)
    monkeypatch.setattr(cluster, "_admin", asked)
    ends = Ends(cluster, lambda _: 1, lambda _: None, lines.logger)
    try:
        assert ends.get("topic", 0) == 7
        known.clear()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not ends.trouble:
            assert ends.get("topic", 0) == 7
            assert time.monotonic() < deadline
        assert ends.get("topic", 0) == 7
        assert ends.trouble == "the brokers do not answer"
        with pytest.raises(NotReady, match="no offset for topic/0"):
            cluster.ends([("topic", 0)])
        known.append(9)
        while ends.trouble:
            ends.get("topic", 0)
            assert time.monotonic() < deadline
        assert ends.get("topic", 0) == 9
    finally:
        ends.close()
    assert len(lines.named("kafka.ends_unknown")) == 1
