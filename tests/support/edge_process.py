"""An edge as a process of its own that writes all it can, to be killed: `python -m …`.

Every line on its standard output is an event that was acknowledged. With `unmarked` it never notes
how far its spool is drained, as if it was always killed before.
"""

import os
import sys
import threading
import time
from pathlib import Path

from penstock.core.errors import PenstockError
from penstock.core.log import Append, Log
from penstock.core.log.kafka.spooler import Spooler
from services.kafka import Kafka
from support.kafka import kafka_settings, open_edge
from support.logs import submit

WRITERS = 8


def write(log: Log, topic: str, run: str, writer: int) -> None:
    """One key per writer and run; every fourth event has an idempotency key and is sent twice."""
    number = 0
    while True:
        event = f"{run}.{writer}/{number}".encode()
        append = Append(topic, [event], [f"{run}.{writer}".encode()])
        try:
            if number % 4 == 3:
                append = append._replace(idempotency_key=event.decode())
                submit(log, append)
            submit(log, append)
        except PenstockError as error:
            sys.stderr.write(f"{error}\n")
            time.sleep(0.05)
            continue
        os.write(1, event + b"\n")
        number += 1


def main(bootstrap: str, folder: str, topic: str, run: str, *, unmarked: bool) -> None:
    if unmarked:
        setattr(Spooler, "_note", lambda _: None)  # noqa: B010 - mypy would take it for a mistake
    settings = kafka_settings(
        Kafka(bootstrap), Path(folder), kafka_partitions=3, kafka_spool_after_seconds=0.2
    )
    log = open_edge(settings, topic)
    for writer in range(WRITERS):
        threading.Thread(target=write, args=(log, topic, run, writer), daemon=True).start()
    while True:
        time.sleep(0.2)
        sys.stderr.write(f"spooled {log.spooled}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    main(*sys.argv[1:5], unmarked="unmarked" in sys.argv[5:])
