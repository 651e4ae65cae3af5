"""Whether a log may begin: not where views hold records of one.

SQLite takes a file of no bytes, or none, for a database that is to be made. So a log that a restore
left empty, or that was lost, would be a new one, and its views stopped by it: whoever sends goes on
to write into the wrong log meanwhile.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

from penstock.core import engines
from penstock.core.errors import Misconfigured
from penstock.core.folder import FolderLock, is_taken
from penstock.core.log.disk import is_there
from penstock.core.projection import Projection, Table
from penstock.core.settings import Settings


def check_may_begin(settings: Settings, projections: Iterable[Projection]) -> None:
    """Raise `Misconfigured` when the log is embedded, gone or empty, and views hold records of it.
    Makes nothing.
    """
    if not engines.is_embedded(settings.log_url) or is_there(path := engines.own_file(settings)):
        return
    held = {name: records for name, records in _held(settings, projections) if records}
    if held:
        name, records = max(held.items(), key=lambda item: item[1])
        views = " and ".join(_places(settings))
        raise Misconfigured(
            f"opening the log {path}: it is {'empty' if path.exists() else 'gone'}, and {name} "
            f"holds what the first {records:,} records of it made: put it back with its -wal, or "
            f"restore a backup; to begin anew without those records move {views} away"
        )


def _held(settings: Settings, projections: Iterable[Projection]) -> Iterator[tuple[str, int]]:
    """Views, and how many records are in each; none of those that another process has, which finds
    out by itself.
    """
    near = any(map(engines.is_embedded, (settings.state_url, settings.warehouse_url)))
    if near and (not settings.folder.is_dir() or is_taken(settings.folder, "work")):
        return
    with ExitStack() as opened:
        if near:
            opened.callback(FolderLock(settings.folder, "work").release)
        known = list(projections)
        if _is_there(settings.state_url):
            state = opened.enter_context(closing(engines.open_state(settings)))
            for fold in known:
                if not isinstance(fold, Table) and (position := state.position(fold.space, 0)):
                    yield fold.name, position.next
        if _is_there(settings.warehouse_url):
            warehouse = opened.enter_context(closing(engines.open_warehouse(settings)))
            for table in known:
                if isinstance(table, Table) and warehouse.columns(table.table):
                    block = warehouse.planned(table.table, 0)
                    yield table.name, 0 if block is None else block.next


def _is_there(url: str) -> bool:
    return not engines.is_embedded(url) or Path(urlsplit(url).path).is_dir()


def _places(settings: Settings) -> Iterator[str]:
    for url in (settings.state_url, settings.warehouse_url):
        yield (
            urlsplit(url).path if engines.is_embedded(url) else f"what is in {urlsplit(url).scheme}"
        )
