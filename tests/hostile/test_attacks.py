"""Beside a hundred attackers of any one kind, a well-behaved client loses nothing.

What is counted is exact, and the loop is held by its own account, in which only what the loop's
thread spent itself counts. How long the client waited depends on what else the machine does:
`python -m bench hostile` measures that, and here it is enough that no answer comes too late for it.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from attackers.kinds import KINDS
from attackers.trial import Trial, attack, warm
from e2e.process import Server

CONNECTIONS = 100
SECONDS = 1.0
HELD_SECONDS = 0.05
"""Five times what is promised: a core that is shared is slower too."""
MEMORY_BYTES = 134_217_728 + 150_000_000
"""What may be under way by the settings, and what may come on top of it."""
LINES_PER_SECOND = 100
SUMMARIES = 10
"""Lines of a kind of their own that may come on top, such as of connections that were closed."""

Attacked = Callable[[str], Server]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """A server for a kind: the module's own, or one with the settings that the kind needs."""
    running: dict[tuple[object, ...], Server] = {}
    with ExitStack() as opened:

        def of(name: str) -> Server:
            kind = KINDS[name]
            needs = (kind.open_files, *kind.settings.items())
            if needs not in running or running[needs].process.poll() is not None:
                running[needs] = Server(
                    tmp_path_factory.mktemp("attacked") / "data",
                    environment={"PENSTOCK_LOG_FORMAT": "json", **kind.environment},
                    wrapper=kind.wrapper,
                )
                opened.callback(running[needs].kill)
                warm(running[needs].port)
            return running[needs]

        yield of


@pytest.mark.parametrize("kind", KINDS)
def test_beside_one_that(kind: str, attacked: Attacked) -> None:
    """Reliability 19, 21, 41 and 43."""
    server = attacked(kind)
    said = len(server.said())
    connections = max(CONNECTIONS, KINDS[kind].connections_min)
    sound, began = False, time.monotonic()
    try:
        trial = attack(server.port, server.process.pid, kind, connections, SECONDS)
        check_answers(trial)
        check_memory(trial)
        assert trial.held_seconds < HELD_SECONDS
        check_lines(server.said()[said:], time.monotonic() - began)
        assert trial.opened >= connections
        sound = True
    finally:
        if not sound:
            sys.stderr.write(f"{server.process.poll()}: {server.said()[-20_000:]}")
            server.kill()  # the next kind finds one that has suffered nothing yet


def check_answers(trial: Trial) -> None:
    """Every request is answered before its client gives up, every acknowledged tag is counted
    once, no account is off.
    """
    assert trial.statuses == {"204": trial.asked}
    assert trial.operator_statuses == {"200"}
    assert trial.counted == trial.asked
    assert trial.balanced


def check_memory(trial: Trial) -> None:
    memory = trial.memory
    assert memory.more < MEMORY_BYTES, memory
    assert memory.given_back_seconds < float("inf"), memory


def check_lines(said: str, seconds: float) -> None:
    """Standard error is for machines to read, and no attacker decides how long it becomes."""
    lines = said.splitlines()
    for line in lines:
        assert json.loads(line)["event"]
    # A second that had begun before, and one that has not ended.
    assert len(lines) <= LINES_PER_SECOND * (seconds + 2) + SUMMARIES
