"""`penstock doctor`: what stands in the way of a healthy process, and what to do about it."""

import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol
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


class Closable(Protocol):
    def close(self) -> None: ...


class Finding(NamedTuple):
    check: str
    verdict: str
    """`ok`, `warn` or `fail`."""
    detail: str


@click.command()
@click.option("--deep", is_flag=True, help="Read the whole log and check every block.")
@data_option
def doctor(data: str | None, *, deep: bool) -> None:
    """Check the data folder, SQLite, the disk, the clock, the limits and the servers in use.

    The exit status is 1 when something would keep Penstock from working.
    """
    from penstock.main import read_settings  # noqa: PLC0415 - heavy

    settings = read_settings(os.environ, {} if data is None else {"data": data})
    checks: list[Callable[[Settings], Iterator[Finding]]] = [
        _folder, _disk, _sqlite, _clock, _limits, _tls, _log, _servers,
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

    path = _log_file(settings)
    if not path.exists():
        yield Finding(path.stem, "ok", "there is none yet")
        return
    try:
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            verdict = str(connection.execute("PRAGMA quick_check(1)").get)
    except apsw.Error as error:
        verdict = str(error)
    if verdict == "ok":
        size = f"{path.stat().st_size / 2**20:.1f} MiB"
        yield Finding(path.stem, "ok", f"{size}, its tree is sound")
    else:
        yield Finding(path.stem, "fail", f"{verdict}; restore it from a backup")


def _log_file(settings: "Settings") -> Path:
    """Of the embedded log, or of an edge's spool."""
    from penstock.core.engines import is_embedded  # noqa: PLC0415 - heavy

    if is_embedded(settings.log_url):
        return Path(urlsplit(settings.log_url).path)
    return settings.folder / "spool.db"


def _servers(settings: "Settings") -> Iterator[Finding]:
    """Each engine of other processes: can it be reached, and used as it is?"""
    from penstock.core import engines  # noqa: PLC0415 - heavy
    from penstock.core.errors import PenstockError  # noqa: PLC0415 - heavy
    from penstock.core.settings import redacted  # noqa: PLC0415 - heavy
    from penstock.main import APPLICATIONS  # noqa: PLC0415 - heavy

    topics = [topic.name for manifest in APPLICATIONS for topic in manifest.topics]
    opened: dict[str, tuple[str, Callable[[], Closable]]] = {
        "log": (settings.log_url, lambda: engines.follow_log(settings, topics)),
        "warehouse": (settings.warehouse_url, lambda: engines.open_warehouse(settings)),
        "state": (settings.state_url, lambda: engines.open_state(settings)),
    }
    for name, (url, open_it) in opened.items():
        if engines.is_embedded(url):
            continue
        try:
            open_it().close()
        except PenstockError as error:
            yield Finding(name, "fail", str(error))
        else:
            yield Finding(name, "ok", f"{redacted(url)} can be used")


def _blocks(settings: "Settings") -> Iterator[Finding]:
    from penstock.cli.progress import Bar  # noqa: PLC0415 - heavy
    from penstock.core.log.sqlite_file import SqliteReader  # noqa: PLC0415 - heavy
    from penstock.main import APPLICATIONS  # noqa: PLC0415 - heavy

    path = _log_file(settings)
    if not path.exists() or path.stem == "spool":
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
