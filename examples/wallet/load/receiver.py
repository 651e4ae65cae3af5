"""Where receipts go: a small real server, which takes some at once, some later and some never."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    def __init__(self, port: int) -> None:
        self.port = port
        self.taken: dict[str, list[Any]] = {}
        """Bodies, by `Idempotency-Key`."""
        self.asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, kind: str, key: str, body: Any) -> int:
        """What it is answered."""
        with self._lock:
            self.asked[key] += 1
            if kind == "gone":
                return 410
            if kind == "later" and self.asked[key] == 1:
                return 503
            self.taken.setdefault(key, []).append(body)
            return 204


@contextmanager
def receiving(port: int) -> Iterator[Receiver]:
    """On the loopback. Raise `OSError` where somebody else is there."""
    receiver = Receiver(port)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            kind = self.path.rpartition("/")[2]
            self.send_response(receiver.take(kind, self.headers["Idempotency-Key"], body))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nobody listens."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
