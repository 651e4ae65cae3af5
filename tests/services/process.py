"""Somebody else's server as a process of its own, ready when its log says so."""

import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE_SECONDS = 180.0
GRACE_SECONDS = 10.0
_LINES_SHOWN = 20


class NotStarted(Exception):
    """The message ends with the last lines of the server's log."""


class Startable(ABC):
    """Starts with a `with` block and ends with it, or when it does not start."""

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Server(Startable):
    """Ends with the thread that launched it, where the system can do that, unless it is to last."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        ready: str,
        lasting: bool = False,
        front: Sequence[str] | None = None,
    ) -> None:
        """`front`: words before the command, which run it and end it with the thread."""
        own = [] if lasting else _bound()
        self._front = own if front is None else list(front)
        self.command = list(command)
        self.log = log
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None
        self._log_bytes_before = 0

    @property
    def pid(self) -> int:
        return self._running().pid

    def launch(self) -> None:
        """Begin to start. Who needs several launches all of them, and then awaits each."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._log_bytes_before = log.tell()
            self._process = subprocess.Popen(
                [*self._front, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests, which then end it in their order
            )

    def await_ready(self) -> None:
        """Raise `NotStarted` when it ends, or is not ready in time."""
        process, deadline = self._running(), time.monotonic() + PATIENCE_SECONDS
        while self._ready not in (said := self._said()):
            if (status := process.poll()) is not None:
                raise NotStarted(self._failure(f"ended with status {status}", said))
            if time.monotonic() > deadline:
                raise NotStarted(self._failure(f"not ready in {PATIENCE_SECONDS:.0f} s", said))
            time.sleep(0.02)

    def start(self) -> None:
        self.launch()
        self.await_ready()

    def kill(self) -> None:
        self._running().kill()
        self._running().wait()

    def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Ask it to end, and kill it when it does not."""
        self._running().terminate()
        try:
            self._running().wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def pause(self) -> None:
        """It holds its connections and answers nothing, like a machine that hangs."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """With the same data, at the same address; what still runs is stopped before."""
        if self._running().poll() is None:
            self.stop()
        self.start()

    def close(self) -> None:
        """Whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it was never launched"
        return self._process

    def _said(self) -> str:
        """Since the latest launch."""
        with self.log.open("rb") as log:
            log.seek(self._log_bytes_before)
            return log.read().decode(errors="replace")

    def _failure(self, what: str, said: str) -> str:
        shown = "\n".join(said.splitlines()[-_LINES_SHOWN:])
        return f"{self.log.stem}: {what}; {self.log} ends with\n{shown}"


def _bound() -> list[str]:
    """Ends a command with the thread that starts it. `preexec_fn` could do the same, but it is
    unsafe beside other threads, and Python warns of it.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []
