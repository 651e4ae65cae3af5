"""One kind of attack on one running server, and all that was seen beside it and afterwards."""

import http.client
import json
import os
import re
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from attackers.beside import HELD, OPERATORS
from attackers.requests import AGGREGATES, BATCH, TAG

GIVEN_BACK_BYTES = 50_000_000
"""Stores keep caches and the allocator keeps a reserve: less than this more is given back."""
_STORED_BYTES = 1_500
"""What stores keep of a tag until they write it out; 1,200 were measured, with no attacker."""
GIVE_BACK_SECONDS = 10.0
"""What is promised; it is waited for longer, for the machine of a test does other things too."""
_LEAD_SECONDS = 0.25
"""What the client does before the attack begins."""
_PATIENCE_SECONDS = 60.0
_PROGRAMS = Path(__file__).parent.parent


class Memory(NamedTuple):
    """Resident bytes of the server and of what it started."""

    before: int
    most: int
    after: int
    stored: int
    """What stores may keep of the tags that came meanwhile, the attackers' among them."""
    given_back_seconds: float
    """How long it took; infinite where it was not given back."""

    @property
    def more(self) -> int:
        """At most, without what is stored."""
        return self.most - self.before - self.stored


class Trial(NamedTuple):
    statuses: dict[str, int]
    """Of the well-behaved client's tags, or the name of the failure."""
    latencies: list[float]
    """In seconds, of those that were answered, ascending."""
    operators: dict[str, list[tuple[float, str]]]
    """Seconds and status of each answer, by path."""
    held_seconds: float
    """The longest that the loop was held, as far as the operator's scrapes saw."""
    waited_seconds: float
    """The longest that the loop waited for another thread, as far as these saw."""
    counted: int
    """Of the client's tags, in aggregates; -1 where these were not answered."""
    balanced: bool
    memory: Memory
    opened: int
    """Connections that the attackers made."""

    @property
    def asked(self) -> int:
        return sum(self.statuses.values())

    @property
    def p99_seconds(self) -> float:
        ordered = self.latencies
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] if ordered else float("inf")

    @property
    def slowest_operator_seconds(self) -> float:
        return max(seconds for answers in self.operators.values() for seconds, _ in answers)

    @property
    def operator_statuses(self) -> set[str]:
        return {status for path in OPERATORS for _, status in self.operators[path]}


def attack(port: int, pid: int, kind: str, connections: int, seconds: float) -> Trial:
    """Raise where the attackers themselves fail, which is no finding about the server."""
    origin = f"good-{uuid4().hex}"
    before, stored = _status(pid, "VmRSS"), _end(port)
    for process in _family(pid):
        Path(f"/proc/{process}/clear_refs").write_text("5")  # VmHWM is the most from here on
    beside = _program("beside", port, origin, seconds + 2 * _LEAD_SECONDS)
    time.sleep(_LEAD_SECONDS)
    swarm = _program("swarm", port, kind, connections, seconds)
    attacked, seen = _result(swarm), _result(beside)
    most, stored = _status(pid, "VmHWM"), max(0, _end(port) - stored) * _STORED_BYTES
    given_back = _given_back(pid, before + stored + GIVEN_BACK_BYTES)
    return Trial(
        seen["statuses"],
        seen["latencies"],
        seen["operators"],
        max(seen["held_seconds"], _held(port)),
        seen["waited_seconds"],
        _counted(port, origin, seen["statuses"].get("204", 0)),
        _balanced(port),
        Memory(before, most, _status(pid, "VmRSS"), stored, given_back),
        attacked["opened"],
    )


def warm(port: int) -> None:
    """Ask for everything once or twice: what a server takes for that is no attack's doing."""
    for _ in range(20):
        _answer(port, "POST", "/user_tags", TAG)
        _answer(port, "POST", BATCH.decode(), b" " * 65_536)
        _answer(port, "POST", f"{AGGREGATES.decode()}warm")
        for path in (*OPERATORS, "/api/pipeline"):
            _answer(port, "GET", path)


def _given_back(pid: int, most: int) -> float:
    """How many seconds it takes; infinity where it is waited for in vain."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < _PATIENCE_SECONDS:
        if _status(pid, "VmRSS") < most:
            return passed
        time.sleep(0.1)
    return float("inf")


def _program(name: str, *arguments: object) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", f"attackers.{name}", *map(str, arguments)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(_PROGRAMS)},
    )


def _result(process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    try:
        out, _ = process.communicate(timeout=_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    if process.returncode != 0:
        raise RuntimeError(f"a process of the attack ended with {process.returncode}")
    result: dict[str, Any] = json.loads(out)
    return result


def _counted(port: int, origin: str, expected: int) -> int:
    """What aggregates have, once it is what is expected or has been waited for long enough."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        answer = _answer(port, "POST", f"{AGGREGATES.decode()}{origin}")
        counted = sum(int(row[-1]) for row in json.loads(answer)["rows"]) if answer else -1
        if counted == expected or time.monotonic() > until:
            return counted
        time.sleep(0.1)


def _topics(port: int) -> list[dict[str, Any]]:
    """Their accounts; none where they are not told."""
    answer = _answer(port, "GET", "/api/pipeline")
    topics: list[dict[str, Any]] = json.loads(answer)["topics"] if answer else []
    return topics


def _balanced(port: int) -> bool:
    topics = _topics(port)
    return bool(topics) and all(topic["balanced"] for topic in topics)


def _end(port: int) -> int:
    """How many events were ever stored."""
    return sum(topic["end"] or 0 for topic in _topics(port))


def _held(port: int) -> float:
    found = HELD.search(_answer(port, "GET", "/metrics"))
    return float(found[1]) if found else float("inf")


def _answer(port: int, method: str, target: str, body: bytes = b"") -> bytes:
    """The body of a 200; nothing where there is none in time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_SECONDS)
    try:
        with closing(connection):
            connection.request(method, target, body)
            response = connection.getresponse()
            body = response.read()
            return body if response.status == 200 else b""
    except (OSError, http.client.HTTPException):
        return b""


def _family(pid: int) -> list[int]:
    """A process and those that it has started."""
    found = [pid]
    for process in found:
        for thread in Path(f"/proc/{process}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def _status(pid: int, name: str) -> int:
    """In bytes, as the kernel counts it, of the whole family."""
    pattern = re.compile(rf"^{name}:\s+(\d+) kB$", re.MULTILINE)
    found = [pattern.search(Path(f"/proc/{p}/status").read_text()) for p in _family(pid)]
    return sum(int(size[1]) * 1024 for size in found if size)
