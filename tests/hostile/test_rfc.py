"""Bytes and what has to come of them, by the RFC that says so.

After a refusal nothing that stands behind it is executed unless the connection goes on, and each
204 is one event in the log, no more and no fewer.
"""

import pytest

from e2e.process import Client, Server
from hostile import rows_fields, rows_framing, rows_lines
from hostile.exchange import check
from hostile.table import Row

ROWS = rows_lines.ROWS + rows_fields.ROWS + rows_framing.ROWS


def named(row: Row) -> str:
    return row.rule.encode("unicode_escape").decode()


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_rule(row: Row, server: Server, client: Client) -> None:
    check(server, client, row)


def test_rules_have_names_of_their_own() -> None:
    assert len({row.rule for row in ROWS}) == len(ROWS)
