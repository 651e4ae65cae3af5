"""A backup beside a server that takes events: what it costs them, and that it is the log.

Rounds without and with one take turns, each pair in the other order than the one before, for this
machine drifts; what is told is the median over the pairs. A round with one is as long as the backup
takes, from before its process starts until it has ended.
"""

import re
import shutil
import statistics
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import apsw
import click

from bench.clients import open_loop
from bench.growth import quiet, settle
from bench.requests import framed, preloaded
from bench.rows import ROUNDS, Plan, Row
from bench.servers import penstock, scratch, serving

RATE = 5_000
"""Tags a second."""
_TAKEN_MIN = 0.98 * RATE
"""With less the machine had no time for the load itself, and ratios say nothing."""
_SECONDS_MAX = 300.0
"""For one command."""
_WARM_UP_SECONDS = 10.0
_BEGIN_SECONDS_MAX = 420.0
"""After so long none but the first pair of rounds begins: all of it ends in twelve minutes."""
_STARTING_SECONDS = 4.0
"""Then a client measures."""
_LOOK_SECONDS = 0.05
_TOPIC = re.compile(r"^(\S+): (\d+) records, checksum (\w+)$", re.MULTILINE)


class _Done(NamedTuple):
    """One command, and what it said of the log."""

    seconds: float
    records: int
    bytes: int
    said: list[tuple[str, ...]]
    """Topics, records and checksums."""

    @property
    def rates(self) -> str:
        megabytes = self.bytes / 1e6
        return (
            f"{self.records:,} records, {megabytes:,.0f} MB, in {self.seconds:.1f} s: "
            f"{self.records / self.seconds:,.0f} records/s, {megabytes / self.seconds:,.0f} MB/s"
        )


class _Round(NamedTuple):
    p99_ms: float
    taken: float
    """Tags a second."""
    ahead: int
    """Bytes of the write-ahead log, at the most."""


def backup(plan: Plan) -> list[Row]:
    """Ingest beside `penstock backup create`; then `verify` and `restore` of the last that was
    whole, and for comparison one of the stopped server, at full speed.
    """
    begin_before = time.monotonic() + _BEGIN_SECONDS_MAX
    with scratch() as folder:
        data, restored = folder / "data", folder / "restored"
        kept, stopped = folder / "kept", folder / "stopped"
        with serving(folder, "--role", "edge") as server:
            preloaded(server.url, plan.backup_tags)
        _tell(f"{plan.backup_tags:,} tags are in the log")
        with serving(folder) as server:
            settle(server)
            _tell("and in the views")
            quiet(server)
            pairs, made = _pairs(server.port, plan, data, kept, begin_before)
        verified = _run("verify", kept, copy=kept)
        back = _run("restore", kept, restored, copy=kept)
        fast = _run("create", stopped, "--data", data, "--rate", "0", copy=stopped)
        equal = made.said == verified.said == back.said and _equal(data, restored, made)
    commands = {
        "create": made,
        "create, stopped, at --rate 0": fast,
        "verify": verified,
        "restore": back,
    }
    what = f"online backup of {plan.backup_tags:,} tags under {RATE:,} tags/s"
    rows = _ingest(what, pairs)
    for name, done in commands.items():
        proof = ("equal, block by block", equal) if name == "restore" else ("", None)
        rows.append(Row(f"{what}: {name}", done.rates, *proof))
    return rows


def _ingest(what: str, pairs: list[tuple[_Round, _Round]]) -> list[Row]:
    without, beside = zip(*pairs, strict=True)
    ratios = sorted(with_it.p99_ms / alone.p99_ms for alone, with_it in pairs)
    ratio = statistics.median(ratios)
    taken = min(one.taken for one in (*without, *beside))
    measured = (
        f"p99 {statistics.median(one.p99_ms for one in without):.2f} ms without, "
        f"{statistics.median(one.p99_ms for one in beside):.2f} ms with it: {ratio:.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f} in {len(pairs)} pairs of rounds); "
        f"{taken:,.0f}/s taken"
    )
    ahead = [max(one.ahead for one in some) / 2**20 for some in (without, beside)]
    return [
        Row(f"{what}: ingest", measured, "within 20 %", ratio <= 1.2 and taken >= _TAKEN_MIN),
        Row(
            f"{what}: write-ahead log",
            f"at most {ahead[0]:.0f} MiB without, {ahead[1]:.0f} MiB with it",
            "",
            None,
        ),
    ]


def _pairs(
    port: int, plan: Plan, data: Path, kept: Path, begin_before: float
) -> tuple[list[tuple[_Round, _Round]], _Done]:
    """Rounds without and with backups, and the last of those that was whole, which is `kept`."""
    made: list[_Done] = []
    making, during = kept.with_name("making"), kept.with_name("during")

    def make() -> None:
        """In the place of the one before."""
        time.sleep(_STARTING_SECONDS)
        try:
            made.append(_run("create", making, "--data", data, copy=making))
        finally:
            during.unlink()

    def one(requests: Path, *, backing: bool) -> _Round:
        sizes, over = [0], threading.Event()
        seconds = plan.backup_seconds
        with ThreadPoolExecutor() as threads:
            looking = threads.submit(_look, data / "log.db-wal", sizes, over)
            try:
                if backing:
                    during.touch()
                    backed = threads.submit(make)
                    found = open_loop(port, requests, 2 * seconds, RATE, during)
                    backed.result()
                else:
                    found = open_loop(port, requests, seconds, RATE)
            finally:
                over.set()
            looking.result()
        if backing:
            shutil.rmtree(kept, ignore_errors=True)
            making.rename(kept)
        p99 = statistics.quantiles(found["latencies_ms"], n=100)[-1]
        _tell(f"{'beside a backup' if backing else 'alone'}: p99 {p99:.2f} ms")
        return _Round(p99, found["per_second"], max(sizes))

    pairs: list[tuple[_Round, _Round]] = []
    with framed("single") as requests:
        open_loop(port, requests, _WARM_UP_SECONDS, RATE)
        for turn in range(ROUNDS):
            if pairs and time.monotonic() > begin_before:
                break
            order = (False, True) if turn % 2 == 0 else (True, False)
            found = {backing: one(requests, backing=backing) for backing in order}
            pairs.append((found[False], found[True]))
    return pairs, made[-1]


def _look(file: Path, sizes: list[int], over: threading.Event) -> None:
    while not over.wait(_LOOK_SECONDS):
        with suppress(FileNotFoundError):
            sizes.append(file.stat().st_size)


def _run(command: str, *arguments: Path | str, copy: Path) -> _Done:
    began = time.monotonic()
    done = subprocess.run(
        penstock("backup", command, *map(str, arguments)),
        capture_output=True,
        timeout=_SECONDS_MAX,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - began
    if done.returncode:
        raise RuntimeError(f"penstock backup {command}: {done.stderr[-2000:]}")
    said = _TOPIC.findall(done.stdout)
    size = (copy / "log.db").stat().st_size
    found = _Done(seconds, sum(int(records) for _, records, _ in said), size, said)
    _tell(f"{command}: {found.rates}")
    return found


def _equal(data: Path, restored: Path, made: _Done) -> bool:
    """Whether what was restored is what the log had then, found without what made it: from the
    first block on, each is the log's, and none is missing between two.
    """
    with closing(apsw.Connection(str(data / "log.db"), flags=apsw.SQLITE_OPEN_READONLY)) as log:
        log.execute("ATTACH ? AS restored", (str(restored / "log.db"),))
        records = 0
        for topic, _ in list(log.execute("SELECT id, name FROM restored.topics")):
            table = f"blocks_{topic}"
            differs = log.execute(
                f"SELECT 1 FROM restored.{table} AS r LEFT JOIN main.{table} AS l USING (first) "
                "WHERE r.count IS NOT l.count OR r.body IS NOT l.body LIMIT 1"
            ).get
            [(count, end)] = log.execute(
                f"SELECT coalesce(sum(count), 0), coalesce(max(first + count), 0) "
                f"FROM restored.{table}"
            )
            if differs or count != end:
                return False
            records += int(str(count))
    return records == made.records


def _tell(what: str) -> None:
    """Where it is; it takes minutes."""
    click.echo(f"  {time.strftime('%H:%M:%S')} {what}", err=True)
