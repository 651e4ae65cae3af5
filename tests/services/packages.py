"""The programs that servers are started with, and the Debian packages that bring them."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = {
    "java": "default-jre-headless",
    "mvn": "maven",
    "nginx": "nginx",
    "postgres": "postgresql",
    "redis-server": "redis-server",
}
_DEBIANS_OWN = "/usr/lib/postgresql/*/bin"
"""Where programs are of which Debian has several versions at once."""
_POLICY = Path("/usr/sbin/policy-rc.d")


class Missing(Exception):
    """Something is not on this machine; the message tells the remedy."""


def program(name: str) -> str:
    """Its path. Raise `Missing` when it is not installed."""
    found = _found(name)
    if found is None:
        raise Missing(f"{name} is not installed; `make services` installs it, or says how")
    return found


def _found(name: str) -> str | None:
    newest = sorted(Path("/").glob(f"{_DEBIANS_OWN}/{name}".lstrip("/")), key=_version)
    return shutil.which(name) or (str(newest[-1]) if newest else None)


def _version(path: Path) -> int:
    return int(path.parts[-3]) if path.parts[-3].isdigit() else 0


def install(programs: Iterable[str]) -> None:
    """Install those that are missing. Raise `Missing` where that is not possible."""
    packages = [PACKAGES[name] for name in programs if _found(name) is None]
    if not packages:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise Missing(f"install {', '.join(packages)} first; on Debian: sudo {' '.join(command)}")
    with _no_service_starts():
        _run(["apt-get", "update"])
        _run(command)


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Debian starts what it installs, unless this file says that it is not to (101)."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def _run(command: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Missing(f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}")
