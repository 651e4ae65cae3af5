"""Positions: how far somebody has come in a log, and the proof of what lies behind.

An offset says how far, never of what: in a log that was put back from an older copy and went on,
the same offset stands behind other records. So a position keeps a *proof*, by which the log knows
the record before it again; whoever goes on from a position has it compared, at every resume and
with every read (docs/decisions/0019).
"""

from typing import NamedTuple


def is_of(known: str, log: str) -> bool:
    """Whether what names `known` is of this topic of this log. On the embedded log a position that
    is older than identities of topics names the log alone.
    """
    return known == log or ("/" not in known and log.startswith(f"{known}/"))


class Position(NamedTuple):
    """In one partition of one log, of one who reads it in order."""

    log: str
    """Identity of the topic of the log; a position in another one means nothing."""
    next: int
    """Offset of the first record that is not in yet."""
    version: int = 0
    """Of the index that wrote the entries; 0 for tables, and for what is older than versions."""
    proof: str = ""
    """Of the record before `next`, as `Batch.proof` had it; empty where there is none, or where
    the position is older than proofs: then it is believed once, and gets one.
    """
