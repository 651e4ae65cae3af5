"""Topics of the log that are of no application that is served."""

from collections.abc import Collection, Iterable
from contextlib import closing

import apsw

from penstock.core import engines
from penstock.core.errors import Misconfigured, NotReady
from penstock.core.log.sqlite_reader import SqliteReader
from penstock.core.settings import PREFIX, Settings


def unserved(settings: Settings, topics: Collection[str]) -> list[str]:
    """Those of the embedded log that have records; brokers may have anybody's. None where the log
    cannot be read, which is told by who needs it.
    """
    if not engines.is_embedded(settings.log_url):
        return []
    try:
        with closing(SqliteReader(engines.log_file(settings))) as reader:
            return [of for of in sorted({*reader.topics()}.difference(topics)) if reader.end(of)]
    except (Misconfigured, NotReady, apsw.Error):
        return []


def remedy(topics: Iterable[str]) -> str:
    owners = dict.fromkeys(topic.partition(".")[0] for topic in topics)
    return f"set {PREFIX}APPLICATIONS so that it names {' and '.join(owners)} too"
