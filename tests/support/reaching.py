"""A way out whose names and time are a test's own, and whose sockets are real."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from penstock.core.clock import Clock, SystemClock
from penstock.core.reach import Answer
from penstock.core.reach.http import Client
from penstock.core.settings import Settings
from support.elsewhere import OUTSIDE, Elsewhere

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


class Names:
    """A resolver: each look-up of a name gives the next of its answers, the last one for ever."""

    def __init__(self, **known: Sequence[Sequence[str]]) -> None:
        self._known = {name.replace("_", "."): list(answers) for name, answers in known.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> Sequence[str]:
        del port
        self.asked.append(host)
        answers = self._known[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]


def client(
    there: Elsewhere, names: Names | None = None, clock: Clock | None = None, **settings: Any
) -> Client:
    known = names or Names(hooks_example=[[OUTSIDE]])
    of = Settings(
        reach_networks=f"{OUTSIDE}/32", reach_ports=str(there.port), reach_seconds_max=3600.0
    )
    return Client(msgspec.structs.replace(of, **settings), clock or SystemClock(), resolver=known)


class Loop(asyncio.SelectorEventLoop):
    """Its time is ahead by as much as a test says: what is late is no matter of speed."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def pass_time() -> None:
    """All that any request here may take."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    loop.ahead += 1_000.0


def finished(
    work: Coroutine[Any, Any, None],
    factory: Callable[[], asyncio.AbstractEventLoop] = Loop,
) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(work)


async def post(out: Client, there: Elsewhere, *, seconds: float = 600.0, **more: Any) -> Answer:
    url = f"http://hooks.example:{there.port}/hook?a=b"
    return await out.request("POST", url, body=b"{}", seconds=seconds, **more)
