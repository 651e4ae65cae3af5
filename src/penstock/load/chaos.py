"""Starts, kills and restarts the server for crash runs (AU-132); always by SIGKILL."""

import asyncio
import os
import shlex
import signal
import sys
from contextlib import suppress
from time import perf_counter

from penstock.load.client import Endpoint
from penstock.load.plans import Options

_READY_SECONDS_MAX = 60.0
_READY_PAUSE_SECONDS = 0.05
_TOLD_SECONDS = 3.0
"""After so many it is said what is waited for."""
# Standard output is for the report.
_STDERR = 2


class ServerNotReady(Exception):
    """Nothing listens at the address of the run."""


class Server:
    """The server under test, as far as a run may start or kill it."""

    def __init__(self, options: Options, endpoint: Endpoint) -> None:
        self._options = options
        self._endpoint = endpoint
        self._process: asyncio.subprocess.Process | None = None
        self.kills = 0

    @property
    def pid(self) -> int | None:
        """The process to measure, if any is known."""
        if self._process is not None:
            return self._process.pid
        if self._options.pid_file is not None:
            with suppress(OSError, ValueError):
                return int(self._options.pid_file.read_text())
        return self._options.pid

    async def start(self) -> None:
        """Start the server if that is this run's task, and wait until it listens."""
        if self._options.serve is not None:
            command = shlex.split(self._options.serve)
            # A session of its own lets one signal reach all that the command starts.
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=_STDERR, start_new_session=True
            )
        await self.listening()

    async def listening(self) -> None:
        begun, told = perf_counter(), False
        while True:
            try:
                _, writer = await asyncio.open_connection(self._endpoint.host, self._endpoint.port)
            except OSError as error:
                if self._process is not None and self._process.returncode is not None:
                    status = self._process.returncode
                    raise ServerNotReady(f"what --serve started ended with {status}") from error
                waited = perf_counter() - begun
                if waited > _TOLD_SECONDS and not told:
                    told = True
                    self._tell()
                if waited > _READY_SECONDS_MAX:
                    raise ServerNotReady(
                        f"nothing listens at {self._endpoint.host}:{self._endpoint.port}; "
                        "start the server, or give --url or --serve"
                    ) from error
                await asyncio.sleep(_READY_PAUSE_SECONDS)
            else:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
                return

    def _tell(self) -> None:
        place = f"{self._endpoint.host}:{self._endpoint.port}"
        sys.stderr.write(f"waiting up to {_READY_SECONDS_MAX:.0f} s for a server at {place}\n")
        sys.stderr.flush()

    async def kill_repeatedly(self, every_seconds: float) -> None:
        """Kill now and then, and restart what this run started; until cancelled."""
        while True:
            await asyncio.sleep(every_seconds)
            await self.kill()

    async def stop(self) -> None:
        """Kill what this run started."""
        if self._process is not None:
            await self._kill_own(self._process)

    async def kill(self) -> None:
        """Kill once, and restart what this run started."""
        self.kills += 1
        if self._process is not None:
            await self._kill_own(self._process)
            await self.start()
        elif self._options.kill_command is not None:
            process = await asyncio.create_subprocess_shell(self._options.kill_command)
            await process.wait()
        elif (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def _kill_own(self, process: asyncio.subprocess.Process) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
