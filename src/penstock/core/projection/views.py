"""Views: what a process may be asked, which is what its log proves."""

import re
from collections.abc import Mapping
from functools import lru_cache

from penstock.core.errors import Disproved
from penstock.core.projection import Table
from penstock.core.projection.runner import Consumer

_STATEMENTS_KNOWN = 256


class Views:
    def __init__(self, consumers: Mapping[str, Consumer]) -> None:
        self._consumers = consumers
        tables = [name for name, c in consumers.items() if isinstance(c.projection, Table)]
        named = re.compile(rf"\b(?:{'|'.join(map(re.escape, tables))})\b" if tables else r"(?!)")
        self._tables = lru_cache(_STATEMENTS_KNOWN)(lambda sql: frozenset(named.findall(sql)))

    def check(self, view: str) -> None:
        """Raise `Disproved`."""
        consumer = self._consumers.get(view)
        if consumer is not None and (disproved := consumer.disproved) is not None:
            raise Disproved(disproved.message)

    def check_query(self, sql: str) -> None:
        """Of every table that the statement names. Raise `Disproved`."""
        for table in self._tables(sql):
            self.check(table)
