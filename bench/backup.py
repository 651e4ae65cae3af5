"""A backup beside a server that takes events: what it costs them, and that it is the log.

Rounds without and with it take turns, for this machine drifts. With it, one backup is made after
another for as long as events are sent.
"""

import re
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import apsw

from bench.clients import open_loop
from bench.growth import quiet, settle
from bench.requests import framed, preloaded
from bench.rows import ROUNDS, Plan, Row
from bench.servers import penstock, scratch, serving

RATE = 5_000
"""Tags a second."""
_TAKEN_MIN = 0.98 * RATE
"""With less the machine had no time for the load itself, and ratios say nothing."""
_SECONDS_MAX = 600.0
"""For one command."""
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
        return (
            f"{self.records:,} records in {self.seconds:.1f} s: "
            f"{self.records / self.seconds:,.0f} records/s, "
            f"{self.bytes / 1e6 / self.seconds:,.0f} MB/s"
        )


def backup(plan: Plan) -> list[Row]:
    """Ingest beside `penstock backup create`; then `verify` and `restore` of its last one."""
    what = f"online backup of {plan.backup_tags:,} tags under {RATE:,} tags/s"
    with scratch() as folder:
        data, kept, restored = folder / "data", folder / "kept", folder / "restored"
        with serving(folder, "--role", "edge") as server:
            preloaded(server.url, plan.backup_tags)
        with serving(folder) as server:
            settle(server)
            quiet(server)
            without, beside, taken = _ingest(server.port, plan, data, folder)
            made = _run("create", kept, "--data", str(data), copy=kept)
        verified = _run("verify", kept, copy=kept)
        back = _run("restore", kept, restored, copy=kept)
        equal = made.said == verified.said == back.said and _equal(data, restored, made)
    ratio = beside / without
    measured = (
        f"p99 {without:.2f} ms without, {beside:.2f} ms with it: {ratio:.2f}; {taken:,.0f}/s taken"
    )
    return [
        Row(f"{what}: ingest", measured, "within 20 %", ratio <= 1.2 and taken >= _TAKEN_MIN),
        Row(f"{what}: create", made.rates, "", None),
        Row(f"{what}: verify", verified.rates, "", None),
        Row(f"{what}: restore", back.rates, "equal, block by block", equal),
    ]


def _ingest(port: int, plan: Plan, data: Path, folder: Path) -> tuple[float, float, float]:
    """p99 in milliseconds without a backup and beside one, over all rounds, and tags a second in
    the round that took least.
    """
    taken = float(RATE)
    took: tuple[list[float], list[float]] = [], []
    with framed("single") as requests:
        for turn in range(2 * ROUNDS):
            with _backups(data, folder / "beside") if turn % 2 else nullcontext():
                found = open_loop(port, requests, plan.backup_seconds, RATE)
            took[turn % 2].extend(found["latencies_ms"])
            taken = min(taken, found["per_second"])
    without, beside = (statistics.quantiles(all_of, n=100)[-1] for all_of in took)
    return without, beside, taken


@contextmanager
def _backups(data: Path, target: Path) -> Iterator[None]:
    """One after another, each in the place of the one before."""
    over = threading.Event()
    failed: list[Exception] = []

    def make() -> None:
        try:
            while not over.is_set():
                _run("create", target, "--data", str(data), copy=target)
                shutil.rmtree(target)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            failed.append(error)

    making = threading.Thread(target=make)
    making.start()
    try:
        yield
    finally:
        over.set()
        making.join()
    if failed:
        raise failed[0]


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
    return _Done(seconds, sum(int(records) for _, records, _ in said), size, said)


def _equal(data: Path, restored: Path, made: _Done) -> bool:
    """Whether what was restored is what the log had then, found without what made it."""
    with closing(apsw.Connection(str(data / "log.db"), flags=apsw.SQLITE_OPEN_READONLY)) as log:
        log.execute("ATTACH ? AS restored", (str(restored / "log.db"),))
        records = 0
        for topic, _ in list(log.execute("SELECT id, name FROM restored.topics")):
            table = f"blocks_{topic}"
            columns = "first, count, body"
            other = log.execute(
                f"SELECT count(*) FROM (SELECT {columns} FROM restored.{table} "
                f"EXCEPT SELECT {columns} FROM main.{table})"
            ).get
            if other:
                return False
            records += int(str(log.execute(f"SELECT sum(count) FROM restored.{table}").get or 0))
    return records == made.records
