"""PostgreSQL for tests: Debian's, with an order of texts that is not that of their bytes."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from services.packages import Missing, program
from services.ports import free_ports
from services.process import GRACE_SECONDS, Server

_USER = "postgres"
"""It does not run as root; Debian's package makes this user."""
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",  # what a test holds against it is how it ends, and not what a disk forgets
    "shared_buffers": "16MB",
    "max_connections": "60",
}


class PostgreSQL(Server):
    """Its data and its log are in the folder, and survive a restart."""

    def __init__(self, folder: Path, *, lasting: bool = False) -> None:
        """Raise `Missing` when PostgreSQL is not installed."""
        self._data = folder / "postgresql"
        self._as_user = _as_user(lasting=lasting)
        server = program("postgres")
        (port,) = free_ports(1)
        options = [f"--{name}={value}" for name, value in {**_SETTINGS, "port": port}.items()]
        super().__init__(
            [server, "-D", str(self._data), *options],
            folder / "log" / "postgresql.log",
            ready="database system is ready to accept connections",
            lasting=lasting,
            front=self._as_user,
        )
        self.url = f"postgresql://{_USER}@127.0.0.1:{port}/postgres"

    def launch(self) -> None:
        if not (self._data / "PG_VERSION").exists():
            self._make()
        super().launch()

    def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """It waits for no client."""
        self._running().send_signal(signal.SIGINT)
        self._end(grace_seconds)

    def kill(self) -> None:
        """With all its processes, and without another write: as a crash."""
        self._running().send_signal(signal.SIGQUIT)
        self._end(GRACE_SECONDS)

    def _end(self, grace_seconds: float) -> None:
        try:
            self._running().wait(grace_seconds)
        except subprocess.TimeoutExpired:
            super().kill()

    def _make(self) -> None:
        self._data.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self._data, _USER, _USER)
        done = subprocess.run(
            [*self._as_user, program("initdb"), "-D", str(self._data), "-U", _USER, "-A", "trust",
             "--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en",
             "--no-sync"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise Missing(f"PostgreSQL makes no database:\n{done.stdout}{done.stderr}")


def _as_user(*, lasting: bool) -> list[str]:
    """Words before a command of it. Root lends its way through folders that are its own."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        if os.geteuid() == 0:
            raise Missing("setpriv is not installed; root needs it to run PostgreSQL")
        return []
    bound = [] if lasting else ["--pdeathsig", "KILL"]
    if os.geteuid() == 0:
        bound += [f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups"]
        bound += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return [setpriv, *bound] if bound else []
