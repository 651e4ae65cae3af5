"""`penstock doctor`: what stands in the way of a healthy process, and what to do about it."""

import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import click

from penstock.cli.listing import echo_rows
from penstock.cli.operator import data_option

if TYPE_CHECKING:
    from penstock.core.settings import Settings

_SQLITE_MIN = (3, 51, 3)
_FILES_MIN = 16_384
"""Room for ten thousand clients, and for the stores."""
_CLOCK_MIN = 1_700_000_000
_CLOCK_SKEW_SECONDS = 2.0
_BLOCKS_AT_ONCE = 20_000


class Finding(NamedTuple):
    check: str
    verdict: str
    """`ok`, `warn` or `fail`."""
    detail: str


@click.command()
@click.option("--deep", is_flag=True, help="Read the whole log and check every block.")
@data_option
def doctor(data: str | None, *, deep: bool) -> None:
    """Check the data folder, SQLite, the disk, the clock and the limits.

    The exit status is 1 when something would keep Penstock from working.
    """
    from penstock.main import read_settings  # noqa: PLC0415 - heavy

    settings = read_settings(os.environ, {} if data is None else {"data": data})
    checks: list[Callable[[Settings], Iterator[Finding]]] = [
        _folder, _disk, _sqlite, _clock, _limits, _tls, _log,
    ]  # fmt: skip
    if deep:
        checks.append(_blocks)
    findings = [finding for check in checks for finding in check(settings)]
    echo_rows(("check", "verdict", "detail"), findings)
    if any(finding.verdict == "fail" for finding in findings):
        sys.exit(1)


def _folder(settings: "Settings") -> Iterator[Finding]:
    folder = settings.folder
    if not folder.exists():
        yield Finding("folder", "ok", f"{folder} is not there yet; serve makes it")
        return
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("folder", "fail", f"{folder} cannot be written; change its owner or mode")
        return
    owner = folder / "control.json"
    state = "a process serves it" if owner.exists() else "no process serves it"
    yield Finding("folder", "ok", f"{folder.absolute()}; {state}")


def _disk(settings: "Settings") -> Iterator[Finding]:
    place = settings.folder if settings.folder.exists() else Path()
    usage = shutil.disk_usage(place)
    detail = f"{usage.free / 2**30:.1f} GiB of {usage.total / 2**30:.1f} GiB are free"
    if usage.free < settings.disk_free_bytes_min:
        yield Finding("disk", "fail", f"{detail}; below PENSTOCK_DISK_FREE_BYTES_MIN: free some")
    elif usage.free < 0.15 * usage.total:
        yield Finding("disk", "warn", f"{detail}; think of more")
    else:
        yield Finding("disk", "ok", detail)


def _sqlite(settings: "Settings") -> Iterator[Finding]:
    import apsw  # noqa: PLC0415 - heavy

    del settings
    version = apsw.sqlite_lib_version()
    if tuple(int(part) for part in version.split(".")) < _SQLITE_MIN:
        yield Finding("sqlite", "fail", f"{version} can corrupt its write-ahead log: upgrade apsw")
    else:
        yield Finding("sqlite", "ok", version)


def _clock(settings: "Settings") -> Iterator[Finding]:
    now = time.time()
    if now < _CLOCK_MIN:
        yield Finding("clock", "fail", "the clock is years behind; set it, and keep it with NTP")
        return
    folder = settings.folder
    if folder.exists() and os.access(folder, os.W_OK):
        probe = folder / f".clock-{os.getpid()}"
        probe.touch()
        skew = abs(probe.stat().st_mtime - now)
        probe.unlink()
        if skew > _CLOCK_SKEW_SECONDS:
            yield Finding(
                "clock", "warn", f"the disk's clock is {skew:.0f} s off; keep both by NTP"
            )
            return
    yield Finding("clock", "ok", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)))


def _limits(settings: "Settings") -> Iterator[Finding]:
    del settings
    soft, files = resource.getrlimit(resource.RLIMIT_NOFILE)  # serve raises the one to the other
    if files == resource.RLIM_INFINITY:
        yield Finding("open files", "ok", "no limit")
        return
    detail = f"serve may have {files}" + (f"; this shell {soft}" if soft < files else "")
    if files < _FILES_MIN:
        remedy = "raise it with LimitNOFILE=65536 in the unit, or `ulimit -Hn 65536` as root"
        yield Finding("open files", "warn", f"{detail}; every client takes one: {remedy}")
    else:
        yield Finding("open files", "ok", detail)


def _tls(settings: "Settings") -> Iterator[Finding]:
    from penstock.core.errors import Misconfigured  # noqa: PLC0415 - heavy
    from penstock.core.tls import identity  # noqa: PLC0415 - heavy

    try:
        found = identity(settings.tls_certificate, settings.tls_key)
    except Misconfigured as error:
        yield Finding("tls", "fail", str(error))
        return
    yield Finding("tls", "ok", f"{settings.tls_certificate} and its key" if found else "not used")


def _log(settings: "Settings") -> Iterator[Finding]:
    import apsw  # noqa: PLC0415 - heavy

    path = Path(urlsplit(settings.log_url).path)
    if not path.exists():
        yield Finding("log", "ok", "there is none yet")
        return
    try:
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            verdict = str(connection.execute("PRAGMA quick_check(1)").get)
    except apsw.Error as error:
        verdict = str(error)
    if verdict == "ok":
        yield Finding("log", "ok", f"{path.stat().st_size / 2**20:.1f} MiB, its tree is sound")
    else:
        yield Finding("log", "fail", f"{verdict}; restore it from a backup")


def _blocks(settings: "Settings") -> Iterator[Finding]:
    from penstock.cli.progress import Bar  # noqa: PLC0415 - heavy
    from penstock.core.log.sqlite_file import SqliteReader  # noqa: PLC0415 - heavy
    from penstock.main import APPLICATIONS  # noqa: PLC0415 - heavy

    path = Path(urlsplit(settings.log_url).path)
    if not path.exists():
        return
    with closing(SqliteReader(path)) as reader:
        for topic in (topic for manifest in APPLICATIONS for topic in manifest.topics):
            end, position, lost = reader.end(topic.name), 0, 0
            with Bar(f"checking {topic.name}", "records") as bar:
                while position < end:
                    batch = reader.read(topic.name, 0, position, _BLOCKS_AT_ONCE)
                    lost += sum(damage.next - damage.first for damage in batch.damages)
                    position = batch.next
                    bar.move(position, end)
            verdict = "fail" if lost else "ok"
            yield Finding("blocks", verdict, f"{topic.name}: {end} records, {lost} unreadable")
