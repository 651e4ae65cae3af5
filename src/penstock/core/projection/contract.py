"""What every sink promises to the cursor that carries one partition of a topic into it."""

from typing import NamedTuple, Protocol

from penstock.core.log import Batch
from penstock.core.projection.dead_letters import DeadLetter
from penstock.core.projection.repeats import Repeats
from penstock.core.state import Position


class Outcome(NamedTuple):
    projected: int
    skipped: int
    dead_lettered: int


class Resume(NamedTuple):
    """What the store has."""

    position: Position | None
    """None where it has nothing yet."""
    first: int = 0
    """Where to go on. What lies between this and the position may be in already, and is to be
    applied first, as one block.
    """
    before: str = ""
    """The proof of the record before `first`, where that is not the position's."""


class Sink(Protocol):
    @property
    def repeats(self) -> Repeats | None:
        """Who says which records are to be left out, where their topic has such."""
        ...

    def resume(self, log: str, partition: int) -> Resume:
        """Forget what was in hand of this partition and go by the store.

        Raise `Disproved` for what was made from another log, or otherwise than it would be now, and
        `Damaged` when it is not what its position claims.
        """
        ...

    def adopt(self, partition: int, proof: str) -> None:
        """Keep the proof with the position that was resumed, which is older than proofs."""
        ...

    def reason(self, partition: int) -> str:
        """Why the first dead letter of the newest batch is one; empty where there is none."""
        ...

    def judge(self, partition: int, disproved: str) -> None:
        """Tell all processes why the view is not to be answered from; nothing: it may be."""
        ...

    def judged(self) -> dict[int, str]:
        """What was told so, by partition. For any thread."""
        ...

    def position(self, partition: int) -> int:
        """How far the store has come, whoever filled it; 0 for none. For any thread."""
        ...

    def stored(self, partition: int) -> Position | None:
        """The same with its proof."""
        ...

    def needed(self, partition: int) -> int | None:
        """The oldest record that it may yet ask the log for, should the process end now; None where
        it has not begun. For any thread.
        """
        ...

    def settle(self, partition: int) -> None:
        """The last block is in, and has been for long: need its records no more."""
        ...

    def lacks(self, *, deep: bool = False) -> str:
        """What the store no longer holds of what its positions claim, in words; empty when that is
        nothing. Cheap, but for `deep`, which may read everything. For any thread.
        """
        ...

    def apply(self, log: str, partition: int, batch: Batch) -> Outcome:
        """Blocks. Idempotent for the same batch. `Unavailable` and `NotReady` are to be retried."""
        ...

    def compact(self) -> None:
        """Arrange what is there for reading, in the background: a backlog has been worked off."""
        ...

    def retry(self, log: str, letter: DeadLetter) -> None:
        """Project one dead letter; raise what stands in its way."""
        ...
