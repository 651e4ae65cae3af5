"""The reference server as a program that keeps its tags in a file; argv: port, file, forgetful."""

import asyncio
import json
import sys
import threading
from pathlib import Path

from load.reference import JsonTag, ReferenceServer, Store


class FileStore(Store):
    """Durable by a write per tag, unless forgetful: then one tag in 50 stays in memory only."""

    def __init__(self, path: Path, *, forgetful: bool) -> None:
        super().__init__()
        self._forgetful = forgetful
        lines = path.read_text().splitlines() if path.exists() else []
        for line in lines:
            super().accept(json.loads(line))
        self._file = path.open("a", buffering=1)

    def accept(self, tag: JsonTag) -> None:
        super().accept(tag)
        if not self._forgetful or len(self.tags) % 50:
            self._file.write(json.dumps(tag) + "\n")


def main(port: str, path: str, forgetful: str) -> None:
    store = FileStore(Path(path), forgetful=forgetful == "yes")
    server = ReferenceServer(store, port=int(port))
    asyncio.run(server.serve(threading.Event(), asyncio.Event()))


if __name__ == "__main__":
    main(*sys.argv[1:])
