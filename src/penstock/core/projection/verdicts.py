"""Verdicts: which views were disproved, told to every process that answers from them.

Whoever carries a projection compares its position with the log; others only ask the stores. So the
verdict stands in the state, beside the dead letters, until the position is proved again.
"""

from penstock.core.errors import Disproved
from penstock.core.state import Entry, State

SPACE = "penstock.disproved"
_ANY = 1 << 16


def other_log(view: str, kind: str) -> Disproved:
    return Disproved(
        f"the {kind} {view} was filled from another log; if the log was replaced on purpose, "
        f"run `penstock rebuild {view} --from-scratch`"
    )


def note(state: State, view: str, partition: int, disproved: str) -> None:
    """Why; or, with nothing, that it is no longer."""
    group, sort = view.encode(), partition.to_bytes(4)
    known = told(state, view).get(partition)
    if disproved and known != disproved:
        state.put(SPACE, Entry(group, sort, disproved.encode()))
    elif known and not disproved:
        state.delete(SPACE, group, sort)


def told(state: State, view: str) -> dict[int, str]:
    """Why it is not to be answered from, by partition."""
    [found] = state.first(SPACE, [view.encode()], _ANY)
    return {int.from_bytes(partition): why.decode() for partition, why in found}
