"""Which engine a URL names. What an installation does not use is never imported."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import urlsplit

from penstock.core.clock import CarefulClock, Clock
from penstock.core.errors import Misconfigured
from penstock.core.events import Codec, Event
from penstock.core.folder import FolderLock
from penstock.core.log import Appender, Follow, Log, renewing
from penstock.core.log.backup import Bars
from penstock.core.log.follower import SqliteFollower
from penstock.core.log.kept import Kept
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.projection import Topic
from penstock.core.settings import Settings, redacted
from penstock.core.state import State
from penstock.core.state.lease import AloneLeases, Leases
from penstock.core.telemetry import logger
from penstock.core.warehouse import Warehouse, sql

if TYPE_CHECKING:
    from penstock.core.database import Database

E = TypeVar("E", bound=Event)
EMBEDDED = ("sqlite", "chdb", "rocksdb")


def is_embedded(url: str) -> bool:
    """Whether the engine lives in this process, so that it can have no other."""
    return urlsplit(url).scheme in EMBEDDED


_KNOWN = {
    "LOG": (("sqlite", "kafka", "kafkas"), "sqlite:///path or kafka://host:9092"),
    "STATE": (("rocksdb", "redis", "rediss"), "rocksdb:///path or redis://host:6379/0"),
    "WAREHOUSE": (
        ("chdb", "clickhouse", "clickhouses"),
        "chdb:///path or clickhouse://host:8123/database",
    ),
    "DATABASE": (
        ("sqlite", "postgresql"),
        "sqlite:///path or postgresql://user:password@host:5432/database",
    ),
}


def check_known(settings: Settings) -> None:
    """Raise `Misconfigured` for a URL that names no engine."""
    urls = (
        settings.log_url, settings.state_url, settings.warehouse_url, settings.database_url
    )  # fmt: skip
    for setting, url in zip(_KNOWN, urls, strict=True):
        _check(setting, url)


def log_file(settings: Settings) -> Path:
    """Of the embedded log, which must be there: who reads makes nothing. Raise `Misconfigured`."""
    if _is_kafka(settings.log_url):
        raise Misconfigured("the log is on Kafka, whose own tools do this; it is for embedded logs")
    path = _path(settings.log_url, "LOG")
    if not path.is_file():
        raise Misconfigured(
            f"there is no log {path}; name the data folder of a server with --data or PENSTOCK_DATA"
        )
    return path


def own_file(settings: Settings) -> Path:
    """Of the embedded log, or of an edge's spool; there or not. Idempotency keys are in it."""
    if is_embedded(settings.log_url):
        return Path(urlsplit(settings.log_url).path)
    return settings.folder / "spool.db"


def check_there(settings: Settings) -> None:
    """Before a tool opens what a server made. Raise `Misconfigured` where there is nothing."""
    if not _is_kafka(settings.log_url):
        log_file(settings)
        return
    urls = (settings.state_url, settings.warehouse_url)
    folders = [Path(urlsplit(url).path) for url in urls if is_embedded(url)]
    if folders and not any(folder.is_dir() for folder in folders):
        raise Misconfigured(
            f"there is no {folders[0]}; name the data folder of a server with --data or "
            "PENSTOCK_DATA"
        )


def codec_of(settings: Settings, topic: Topic[E]) -> Codec[E]:
    """What the records of a topic are made with on the log of the settings."""
    if _is_kafka(settings.log_url):
        from penstock.core.log.kafka.formats import codec  # noqa: PLC0415 - an extra

        return codec(settings, topic.name, topic.events)
    return topic.codec()


def prepare_log(settings: Settings, kept: Mapping[str, Kept], bars: Bars) -> list[str]:
    """Create the topics that are missing, and have them kept so; what was done, in words. A file
    that could not give space back is written anew, if topics are not kept for ever.

    Raise `Misconfigured`.
    """
    if _is_kafka(settings.log_url):
        from penstock.core.log.kafka.topics import create_topics  # noqa: PLC0415 - an extra

        return create_topics(settings, list(kept), kept)
    done, file = "topics are made by their first record", own_file(settings)
    bounded = any(of.is_bounded for of in kept.values())
    if bounded and file.is_file() and not renewing.gives_back(file):
        renewing.renew(file, bars)
        done = "written anew, so that what is trimmed leaves the disk"
    return [f"log {redacted(settings.log_url)}: {done}"]


def kept_otherwise(settings: Settings, kept: Mapping[str, Kept]) -> dict[str, str]:
    """Topics that are not kept as they are to be, and how they are: by brokers, that is.

    Raise `NotReady`.
    """
    if not _is_kafka(settings.log_url):
        return {}
    from penstock.core.log.kafka import topics  # noqa: PLC0415 - an extra

    return topics.kept_otherwise(settings, kept)


def open_log(settings: Settings, clock: CarefulClock, topics: Sequence[str]) -> Log:
    """The log, to write to. Raise `Misconfigured`."""
    if _is_kafka(settings.log_url):
        from penstock.core.log.kafka.edge import KafkaLog  # noqa: PLC0415 - an extra

        return KafkaLog(settings, clock, topics)
    path = _path(settings.log_url, "LOG")
    lines = logger(settings.log_level, settings.log_format)
    log = SqliteLog(path, clock, Limits.of(settings), lines=lines)
    clock.reach(log.newest_ms)
    return log


def follow_log(settings: Settings, topics: Sequence[str]) -> Follow:
    """The log, to read from. Raise `Misconfigured`."""
    if _is_kafka(settings.log_url):
        from penstock.core.log.kafka.follow import KafkaFollower  # noqa: PLC0415 - an extra

        return KafkaFollower(settings, topics)
    return SqliteFollower(_path(settings.log_url, "LOG"))


def open_state(settings: Settings, spaces: Iterable[str] = ()) -> State:
    """`spaces` are those that are going to be written to. Raise `Misconfigured`."""
    if urlsplit(settings.state_url).scheme in ("redis", "rediss"):
        from penstock.core.state.redis import RedisState  # noqa: PLC0415 - an extra

        return RedisState(settings.state_url)
    from penstock.core.state.rocksdb import RocksState  # noqa: PLC0415 - heavy to import

    return RocksState(_path(settings.state_url, "STATE"), spaces)


def open_near(settings: Settings) -> State:
    """What an edge knows itself, whoever has the state. Raise `Misconfigured`."""
    from penstock.core.state.rocksdb import RocksState  # noqa: PLC0415 - heavy to import

    return RocksState(settings.folder / "near")


def check_appends(settings: Settings, who: Sequence[str], *, writes: bool) -> None:
    """Folds and schedules that say events append them in their own process: on brokers any may, the
    embedded log has one that writes it. Raise `Misconfigured`.
    """
    if who and not writes and not _is_kafka(settings.log_url):
        raise Misconfigured(
            f"{', '.join(who)} appends, which needs the process that writes the log: give it the "
            "role edge as well, or let another one do it"
        )


def appender(follow: Follow, log: Log | None, clock: CarefulClock) -> Appender | None:
    """Where a process that follows the log, or writes it, may append what it made of records; None:
    nowhere.
    """
    if log is not None:
        return log
    made: Callable[[Clock], Appender] | None = getattr(follow, "appender", None)
    return None if made is None else made(clock)


def check_editing(applications: Sequence[str], *, appends: bool) -> None:
    """What people edit leaves for the log, where that is written. Raise `Misconfigured`."""
    if applications and not appends:
        raise Misconfigured(
            f"{', '.join(applications)} has entities, whose changes go to the log: give the role "
            "api to the process with the role edge, or leave it out of PENSTOCK_APPLICATIONS"
        )


def open_database(settings: Settings) -> "Database":
    """With its tables, where it is embedded; a shared one may be away. Raise `Misconfigured`."""
    from penstock.core.database import Database  # noqa: PLC0415 - only where there are entities

    database = Database(settings.database_url)
    if database.embedded:
        database.migrate()
    return database


def database_file(settings: Settings) -> Path | None:
    """Of the embedded database, if that is one; there or not."""
    url = settings.database_url
    return Path(urlsplit(url).path) if is_embedded(url) else None


def prepare_database(settings: Settings) -> list[str]:
    """Take the steps that its schema lacks; what was done, in words. Raise `Misconfigured`."""
    from penstock.core.database import Database  # noqa: PLC0415 - only where there are entities

    with ExitStack() as opened:
        if is_embedded(settings.database_url):
            opened.callback(FolderLock(settings.folder, "work").release)
        database = opened.enter_context(closing(Database(settings.database_url)))
        taken = [f"step taken: {step}" for step in database.migrate()]
    return [f"database {redacted(settings.database_url)}: its tables are there", *taken]


def open_leases(settings: Settings, state: State, clock: Clock) -> Leases:
    """Where processes agree on who leads: in the state, if they share it."""
    return AloneLeases(clock) if is_embedded(settings.state_url) else cast("Leases", state)


def open_warehouse(settings: Settings) -> Warehouse:
    """Raise `Misconfigured`."""
    _check("WAREHOUSE", settings.warehouse_url)
    from penstock.core.warehouse.clickhouse import ClickHouse  # noqa: PLC0415 - heavy to import

    return ClickHouse(settings)


def prepare_warehouse(settings: Settings, packages: Sequence[str]) -> list[str]:
    """Create the tables that are missing; what was done, in words. Raise `Misconfigured`."""
    with ExitStack() as opened:
        if is_embedded(settings.warehouse_url):
            opened.callback(FolderLock(settings.folder, "work").release)
        warehouse = opened.enter_context(closing(open_warehouse(settings)))
        added = [told for package in packages for told in warehouse.create(sql.schema(package))]
    return [f"warehouse {redacted(settings.warehouse_url)}: its tables are there", *added]


def prepare_state(settings: Settings) -> list[str]:
    """Nothing need be created; it must be one that can be used. Raise `Misconfigured`."""
    with ExitStack() as opened:
        if is_embedded(settings.state_url):
            opened.callback(FolderLock(settings.folder, "work").release)
        opened.enter_context(closing(open_state(settings)))
    return [f"state {redacted(settings.state_url)}: ready"]


def _is_kafka(url: str) -> bool:
    return urlsplit(url).scheme in ("kafka", "kafkas")


def _path(url: str, setting: str) -> Path:
    """Of an embedded engine."""
    _check(setting, url)
    return Path(urlsplit(url).path)


def _check(setting: str, url: str) -> None:
    schemes, known = _KNOWN[setting]
    if (scheme := urlsplit(url).scheme) not in schemes:
        raise Misconfigured(
            f"PENSTOCK_{setting}: there is no engine {scheme or 'for a bare path'}; use {known}"
        )
