"""Which fault is injected by which test: tests say it in their docstrings, and docs/reliability.md
tells it, made by `python -m support.reliability FILE`.

A test, or a module for all of its tests, names rows as in `Reliability 4 and 6.`
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parents[1]
_NAMED = re.compile(r"[Rr]eliability (\d+(?:, \d+)*(?: and \d+)?)")
_HEAD = """\
<!-- Made from the tests; do not edit, run `make docs`. -->

# Faults that are injected

What may go wrong, what happens then, and the tests that make it go wrong.
The numbers are those that tests name in their docstrings, and stay; what has no number here is not claimed.
`make check` runs what is fast, `make test` all, and `make faults` a thousand kills and longer outages.
What an operator sees of it and does is in [operations](operations.md).\
"""  # noqa: E501 - Markdown: a sentence is a line
_Function = ast.FunctionDef | ast.AsyncFunctionDef


class Row(NamedTuple):
    fault: str
    effect: str


ROWS: Mapping[int, Row] = {
    1: Row(
        "The process is killed at any moment, under load",
        "Every acknowledged event is there once after the start; others once or not at all.",
    ),
    2: Row(
        "The power goes, and any part of what was not synced is lost",
        "The same: an acknowledgement waits for its sync.",
    ),
    3: Row(
        "The log's end is torn, or something within it is changed or missing",
        "A torn end costs what was not acknowledged. Damage within costs its own block, whose "
        "numbers are told as dead letters, and its neighbours are read; `penstock salvage` brings "
        "back all that can be read.",
    ),
    4: Row(
        "The disk is full: for the log, for folding it, for a rebuild",
        "Events are answered 503 with `Retry-After`, and taken again once there is space, without "
        "a restart. A rebuild ends before it takes the last of the space.",
    ),
    5: Row(
        "A sync fails",
        "Nothing is acknowledged any more by this process, which ends; the next one begins with "
        "what the disk has.",
    ),
    6: Row(
        "The disk is read-only, a permission is gone, no file can be opened or made",
        "As with a full disk: refused with the remedy, no damage spoken of, and gone on with. What "
        "is open already goes on.",
    ),
    7: Row(
        "The warehouse is away, and comes back",
        "Events wait in the log; then each is stored once, in views of the warehouse too.",
    ),
    8: Row(
        "The warehouse takes an insert, and its reply is lost",
        "The block is sent again under the same token, and is there once, in views too.",
    ),
    9: Row(
        "Whoever projects is killed in the midst, or its store is an older copy",
        "It goes on from where the contents of the store end, and nothing is there twice.",
    ),
    10: Row(
        "A record that cannot be decoded, projected or stored",
        "It is a dead letter with its reason, and its neighbours are stored.",
    ),
    12: Row(
        "The same request comes again, at once, with others, after a restart, after the window",
        "Within the window it is stored once and answered as the first; afterwards it is new.",
    ),
    13: Row(
        "Events are late by a minute, a day or thirty days, or early; the clock steps back",
        "Each counts in its own minute as far as the retention goes; what is later is skipped and "
        "counted. Numbers and ids only grow, and no lag is negative.",
    ),
    14: Row(
        "Brokers are killed, hang, change their leaders, forget, or are all away",
        "Edges keep events on their own disk and send them in order, once; what retention took is "
        "told, never passed over.",
    ),
    15: Row(
        "The database is away, fails over, or is waited for by many at once",
        "Ingest, projections and queries notice nothing; edits are answered 503 and go on when it "
        "is back, and of many who save the same revision one does.",
    ),
    17: Row(
        "The process is stopped under load",
        "What is under way is answered and stored, and connections end between two requests.",
    ),
    18: Row(
        "Work that is heavy ends its process, by its memory or its time",
        "It is a failed attempt with its reason, tried again and given up; nothing else is "
        "disturbed.",
    ),
    19: Row(
        "Clients that send or read slowly, or stop in the middle",
        "Each costs a bounded time and memory, and who behaves is answered beside them.",
    ),
    20: Row(
        "Bodies that would become huge, or never end",
        "Inflating stops at the limit of the path and costs in proportion; the answer is 413.",
    ),
    21: Row(
        "A flood of requests, of one client, of one key",
        "Who takes little is next behind what is in hand, and a hot key stays bounded.",
    ),
    24: Row(
        "A backup under load, after a kill, and of an older moment, restored on an empty place",
        "It is one moment of the log with all that was acknowledged before, proved by counts and "
        "checksums; what is not as it was written is not restored.",
    ),
    25: Row(
        "A URL that leads inside: by an address however it is spelled, by a name that means one, "
        "now and then or among others, by a redirect; and others who answer without end",
        "Nothing inside is connected to, when it is saved and when it is sent; an answer is "
        "bounded in bytes and in time.",
    ),
    29: Row(
        "Somebody asks for what people of another project have set, by its id or by using it",
        "It is not found; neither what it is nor that it is there can be told.",
    ),
    33: Row(
        "Pages of other origins",
        "They may send events where that is set, never ask, and never with credentials.",
    ),
    37: Row(
        "The server's clock is a day off for a while",
        "The step is not believed, leases do not follow it, and no answer changes.",
    ),
    39: Row(
        "Two processes on one data folder, one after the other or at once",
        "One serves, and the other ends at once and says who has it.",
    ),
    41: Row(
        "A connection full of requests, beside others that ask one at a time",
        "One request of it is in hand at a time, and requests take turns.",
    ),
    42: Row(
        "Requests that are cheap to send and dear to judge",
        "They are judged in a process beside the server, and none holds all others up.",
    ),
    43: Row(
        "Thousands of connections, heads without bodies, no descriptors left",
        "The idlest go first, never one whose request has arrived; stores keep a reserve, and "
        "operators are answered.",
    ),
    44: Row(
        "The data folder is away for a while; a thread ends",
        "Events are refused until the folder is back, and nothing is written in its place; without "
        "a thread the process ends with a line and status 1.",
    ),
    45: Row(
        "An older log is put back, or another one, and written to",
        "Positions prove their records at each resume: views answer 503 `disproved` and name the "
        "remedy, until the right log is back or they are rebuilt.",
    ),
    46: Row(
        "Files of state and warehouse are empty, cut, changed or gone",
        "The view that lost something answers 503 and names its rebuild, or is made again from the "
        "log; none answers less than there was.",
    ),
    47: Row(
        "A rebuild from a damaged or shorter log, with too little space, or ended in the midst",
        "What there is stays, what would be less is named, and no shadow is left behind.",
    ),
    48: Row(
        "One event far in the future, or a clock that was wrong at the start",
        "Nobody else's answers change, or the record is given up by its number.",
    ),
    49: Row(
        "A key is used for something else; keys come faster than they expire",
        "422, and nothing is stored under it; expired keys go faster than new ones come.",
    ),
    50: Row(
        "A question to an engine never returns",
        "It is given up in time, and hinders neither others nor health.",
    ),
    51: Row(
        "A server of the state forgets while it runs",
        "It is noticed, and views answer 503 until they have everything again.",
    ),
    52: Row(
        "Somebody does what the pages say, after an unclean stop too",
        "Every command does what its page says.",
    ),
}


def tests() -> dict[int, dict[str, list[str]]]:
    """By row and file the tests that name it; none for a file that names it as a whole."""
    found: defaultdict[int, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text()
        if not _NAMED.search(text):
            continue
        file, module = path.relative_to(TESTS.parent).as_posix(), ast.parse(text)
        for row in _rows(module):
            found[row][file] = []
        for test in ast.walk(module):
            if isinstance(test, _Function) and test.name.startswith("test_"):
                for row in _rows(test):
                    found[row][file].append(test.name)
    return {row: dict(files) for row, files in sorted(found.items())}


def _rows(documented: ast.Module | _Function) -> Iterator[int]:
    named = _NAMED.search(ast.get_docstring(documented) or "")
    return (int(number) for number in re.findall(r"\d+", named[1] if named else ""))


def page() -> str:
    shown = tests()
    parts = [_HEAD]
    for number, row in ROWS.items():
        effect = re.sub(r"(?<=\.) (?=[A-Z])", "\n", row.effect)
        lines = [
            f"- `{file}`" + "".join(f"\n  - `{name}`" for name in names)
            for file, names in shown.get(number, {}).items()
        ]
        parts += [f"## {number}. {row.fault}", effect, "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
