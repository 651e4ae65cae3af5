"""Asking brokers that say nothing: the question ends, whatever others do with the client."""

import gc
import socket
import threading
import time

import pytest
from confluent_kafka.admin import AdminClient

from penstock.core.errors import NotReady
from penstock.core.log.kafka.address import client, properties
from penstock.core.log.kafka.cluster import Cluster

PATIENCE_SECONDS = 15.0


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
