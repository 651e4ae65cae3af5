"""`penstock doctor`: what stands in the way of a healthy process, and what to do about it."""

import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit

import click

from penstock.cli.listing import echo_rows
from penstock.cli.operator import data_option

if TYPE_CHECKING:
    from penstock.core.log.pace import Pace
    from penstock.core.log.sqlite_reader import SqliteReader
    from penstock.core.projection import Projection
    from penstock.core.settings import Settings

_SQLITE_MIN = (3, 51, 3)
_FILES_MIN = 16_384
"""Room for ten thousand clients, and for the stores."""
_CLOCK_MIN = 1_700_000_000
_CLOCK_SKEW_SECONDS = 2.0
_RECORDS_AT_ONCE = 1_000
_CERTIFICATE_DAYS_MIN = 14

Check = Callable[["Settings"], "Iterator[Finding]"]


class Closable(Protocol):
    def close(self) -> None: ...


class Finding(NamedTuple):
    check: str
    verdict: str
    """`ok`, `warn` or `fail`."""
    detail: str


@click.command()
@click.option("--deep", is_flag=True, help="Read the whole log, gently, and check every block.")
@data_option
def doctor(data: str | None, *, deep: bool) -> None:
    """Check all that Penstock needs to work, and what it holds.

    That is the folder, SQLite, the disk, the clock, limits, the servers in use, and whether tables
    hold what they are to hold. The exit status is 1 when something would keep it from working.
    """
    from penstock.main import read_settings  # noqa: PLC0415 - heavy

    settings = read_settings(os.environ, {} if data is None else {"data": data})
    findings = examined(settings, [*CHECKS, _warehouse, _views, *([_blocks] if deep else [])])
    echo_rows(("check", "verdict", "detail"), findings)
    if any(finding.verdict == "fail" for finding in findings):
        sys.exit(1)


def examined(settings: "Settings", checks: Sequence[Check]) -> list[Finding]:
    """What all checks found. One that fails has found something, and ends no other."""
    from penstock.core.errors import PenstockError  # noqa: PLC0415 - heavy

    findings: list[Finding] = []
    for check in checks:
        try:
            findings.extend(check(settings))
        except Exception as error:  # noqa: BLE001 - whatever its engine raises
            name = check.__name__.strip("_")
            # Our own errors say all there is; others often say little without their kind.
            told = str(error) if isinstance(error, PenstockError) else _with_kind(error)
            findings.append(Finding(name, "fail", told))
    return findings


def _with_kind(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _folder(settings: "Settings") -> Iterator[Finding]:
    folder = settings.folder
    if not folder.exists():
        yield Finding("folder", "ok", f"{folder} is not there yet; serve makes it")
        return
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("folder", "fail", f"{folder} cannot be written; change its owner or mode")
        return
    from penstock.cli.remote import serving  # noqa: PLC0415 - heavy

    door = serving(settings)
    state = f"process {door.pid} serves it" if door else "no process serves it"
    yield Finding("folder", "ok", f"{folder.absolute()}; {state}")


def _disk(settings: "Settings") -> Iterator[Finding]:
    place = settings.folder if settings.folder.exists() else Path()
    from penstock.core.log.disk import shortage  # noqa: PLC0415 - heavy

    usage = shutil.disk_usage(place)
    detail = f"{usage.free / 2**30:.1f} GiB of {usage.total / 2**30:.1f} GiB are free"
    if usage.free < settings.disk_free_bytes_min:
        yield Finding("disk", "fail", shortage(place, settings.disk_free_bytes_min))
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
    ahead = _taken(settings) - now
    if ahead > _CLOCK_SKEW_SECONDS:
        detail = f"it is {ahead:.0f} s behind the log's newest record: one of the two is wrong"
        yield Finding("clock", "warn", detail)
        return
    yield Finding("clock", "ok", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)))


def _taken(settings: "Settings") -> float:
    """When the log took its newest record, in epoch seconds; 0 where that is not known."""
    import apsw  # noqa: PLC0415 - heavy

    from penstock.core.engines import own_file  # noqa: PLC0415 - heavy
    from penstock.core.errors import Misconfigured  # noqa: PLC0415 - heavy
    from penstock.core.log.sqlite_reader import connect  # noqa: PLC0415 - heavy
    from penstock.core.log.tables import newest_ms  # noqa: PLC0415 - heavy

    path = own_file(settings)
    if not path.exists():
        return 0.0
    with (
        suppress(apsw.Error, Misconfigured),  # the check of the log says what is the matter
        closing(connect(path, writable=False)) as connection,
    ):
        return newest_ms(connection) / 1000
    return 0.0


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
    from penstock.core.tls import identity, not_after  # noqa: PLC0415 - heavy

    try:
        found = identity(settings.tls_certificate, settings.tls_key)
    except Misconfigured as error:
        yield Finding("tls", "fail", str(error))
        return
    if found is None:
        yield Finding("tls", "ok", "not used")
        return
    left = not_after(found.certificate) - time.time()
    detail = f"{settings.tls_certificate} is valid for another {max(left, 0) / 86_400:.0f} days"
    if left <= 0:
        yield Finding("tls", "fail", f"{settings.tls_certificate} has expired: renew it, restart")
    elif left < _CERTIFICATE_DAYS_MIN * 86_400:
        yield Finding("tls", "warn", f"{detail}: renew it, restart")
    else:
        yield Finding("tls", "ok", detail)


def _log(settings: "Settings") -> Iterator[Finding]:
    import apsw  # noqa: PLC0415 - heavy

    from penstock.core.beginning import check_may_begin  # noqa: PLC0415 - heavy
    from penstock.core.engines import own_file  # noqa: PLC0415 - heavy
    from penstock.core.log.disk import failed_open, forsaken, is_there  # noqa: PLC0415 - heavy
    from penstock.core.log.sqlite_reader import connect  # noqa: PLC0415 - heavy

    path = own_file(settings)
    if why := forsaken(path):
        yield Finding(path.stem, "fail", why)
        return
    if not is_there(path):
        check_may_begin(settings, _projections(settings))
        yield Finding(path.stem, "ok", "there is none yet")
        return
    try:
        with closing(connect(path, writable=False)) as connection:
            verdict = str(connection.execute("PRAGMA quick_check(1)").get)
        if verdict != "ok":
            raise apsw.CorruptError(" ".join(verdict.split()))
    except apsw.Error as error:
        yield Finding(path.stem, "fail", failed_open(path, error))
        return
    yield Finding(path.stem, "ok", f"{log_size(path)}, its tree is sound")


def _warehouse(settings: "Settings") -> Iterator[Finding]:
    """Whether each table holds what was planned and counted. A process that has the embedded
    engine says it itself, and looks all the time.
    """
    from penstock.cli.readiness import readiness  # noqa: PLC0415 - heavy
    from penstock.cli.remote import serving  # noqa: PLC0415 - heavy
    from penstock.core.engines import is_embedded  # noqa: PLC0415 - heavy
    from penstock.core.folder import is_taken  # noqa: PLC0415 - heavy

    embedded = is_embedded(settings.warehouse_url)
    if embedded and not Path(urlsplit(settings.warehouse_url).path).is_dir():
        yield Finding("warehouse", "ok", "there is none yet")
        return
    tables = {table: p for p in _projections(settings) for table in p.tables}
    if embedded and is_taken(settings.folder, "work"):
        door = serving(settings)
        if door is None:
            yield Finding("warehouse", "warn", "a process has it that these tools cannot ask")
            return
        found = {name: told for name, told in readiness(door).problems.items() if name in tables}
    else:
        found = _damages(settings, tables)
    for name, told in found.items():
        yield Finding(name, "fail", told)
    if not found:
        yield Finding("warehouse", "ok", "its tables hold what was planned and counted")


def _projections(settings: "Settings") -> "list[Projection]":
    from penstock.main import manifests  # noqa: PLC0415 - heavy

    return [p for manifest in manifests(settings.applications) for p in manifest.projections]


def _damages(settings: "Settings", tables: "Mapping[str, Projection]") -> dict[str, str]:
    """By opening it, which alone makes an engine look at its parts; and by reading all of it."""
    from penstock.core import engines  # noqa: PLC0415 - heavy
    from penstock.core.errors import Damaged  # noqa: PLC0415 - heavy
    from penstock.core.folder import FolderLock  # noqa: PLC0415 - heavy
    from penstock.core.projection import Table  # noqa: PLC0415 - heavy
    from penstock.core.projection.ahead import ahead_of  # noqa: PLC0415 - heavy

    found = {}
    with ExitStack() as opened:
        if engines.is_embedded(settings.warehouse_url):
            opened.callback(FolderLock(settings.folder, "work").release)
        warehouse = opened.enter_context(closing(engines.open_warehouse(settings)))
        topics = [of.topic.name for of in tables.values()]
        follow = opened.enter_context(closing(engines.follow_log(settings, topics)))
        for table, of in tables.items():
            if not warehouse.columns(table):
                continue
            lacks = warehouse.damage(table, deep=True)
            if isinstance(of, Table):  # rows of mirrors are replaced, and not counted
                lacks = lacks or warehouse.lacking(table)
                for partition in range(follow.partitions(of.topic.name)):
                    lacks = lacks or ahead_of(warehouse, table, partition)
            if lacks:
                found[table] = Damaged(of.name, lacks).message
    return found


def log_size(path: Path) -> str:
    from penstock.core.log.checkpoint import bytes_of_log  # noqa: PLC0415 - heavy

    return f"{bytes_of_log(path) / 2**20:.1f} MiB on disk"


def _servers(settings: "Settings") -> Iterator[Finding]:
    """Each engine of other processes: can it be reached, and used as it is?"""
    from penstock.core import engines  # noqa: PLC0415 - heavy
    from penstock.core.errors import PenstockError  # noqa: PLC0415 - heavy
    from penstock.core.settings import redacted  # noqa: PLC0415 - heavy
    from penstock.main import manifests  # noqa: PLC0415 - heavy

    topics = [
        topic.name for manifest in manifests(settings.applications) for topic in manifest.topics
    ]
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


def _views(settings: "Settings") -> Iterator[Finding]:
    """Is what they hold what the log has? Where nothing was made yet, nothing is to find it out."""
    from penstock.cli.remote import operations, serving  # noqa: PLC0415 - heavy
    from penstock.core.engines import is_embedded  # noqa: PLC0415 - heavy
    from penstock.core.folder import is_taken  # noqa: PLC0415 - heavy

    if serving(settings) is None and is_taken(settings.folder, "work"):
        yield Finding("views", "warn", "a process has them that these tools cannot ask")
        return
    urls = (settings.log_url, settings.state_url, settings.warehouse_url)
    if not all(Path(urlsplit(url).path).exists() for url in urls if is_embedded(url)):
        yield Finding("views", "ok", "there are none yet")
        return
    with operations(settings.data, edge=False) as operating:
        for view in operating.views():
            verdict = "fail" if view.wrong else "ok"
            yield Finding(view.name, verdict, view.wrong or "what the log proves")


def _blocks(settings: "Settings") -> Iterator[Finding]:
    import apsw  # noqa: PLC0415 - heavy

    from penstock.core.engines import own_file  # noqa: PLC0415 - heavy
    from penstock.core.folder import is_taken  # noqa: PLC0415 - heavy
    from penstock.core.log.pace import Pace  # noqa: PLC0415 - heavy
    from penstock.core.log.sqlite_reader import SqliteReader  # noqa: PLC0415 - heavy

    path = own_file(settings)
    if not path.exists() or path.stem == "spool":
        return
    served = is_taken(settings.folder, "edge")
    pace = Pace(float("inf") if served else 0)  # whoever is served goes first
    with closing(SqliteReader(path)) as reader:
        for topic in reader.topics():
            start = reader.start(topic)
            reached = Reached(start)
            try:
                read_all(reader, topic, reached, pace)
            except (apsw.Error, MemoryError, TypeError, UnicodeError) as error:  # as rows may claim
                where = f"{topic}: unreadable from record {reached.next} on: {error}"
                yield Finding("blocks", "fail", f"{where}; `penstock salvage` copies the rest")
                continue
            verdict = "fail" if reached.lost else "ok"
            detail = f"{topic}: {reached.next - start} records, {reached.lost} unreadable"
            yield Finding("blocks", verdict, detail)


@dataclass
class Reached:
    next: int = 0
    lost: int = 0


def read_all(reader: "SqliteReader", topic: str, reached: Reached, pace: "Pace") -> None:
    """A little at a time, and nothing is held between two."""
    from penstock.cli.progress import Bar  # noqa: PLC0415 - heavy

    end = reader.end(topic)
    with Bar(f"checking {topic}", "records") as bar:
        while reached.next < end:
            batch = reader.read(topic, 0, reached.next, _RECORDS_AT_ONCE)
            reached.lost += sum(damage.next - damage.first for damage in batch.damages)
            reached.next = batch.next
            bar.move(reached.next, end)
            pace.did()


CHECKS: Sequence[Check] = (
    _folder, _disk, _sqlite, _clock, _limits, _tls, _log, _servers,
)  # fmt: skip
"""Those that only read."""
