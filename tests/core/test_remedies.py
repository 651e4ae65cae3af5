"""To give data up is said only where its damage is proved, and no check of doctor ends another."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import apsw
import msgspec
import pytest
import trustme
from click.testing import CliRunner

from penstock.cli import cli
from penstock.cli.doctor import CHECKS, Finding, examined
from penstock.core.doors import doors
from penstock.core.errors import Damaged, Misconfigured, NotReady
from penstock.core.log.disk import failed_open, shortage
from penstock.core.log.follower import SqliteFollower
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.settings import Settings
from penstock.core.state.rocksdb import RocksState
from penstock.core.tls import not_after
from penstock.main import build, read_settings
from support.clock import MovedClock
from support.damage import Damage, emptied, removed

GIVING_UP = ("restore", "salvage", "remove", "away")
PROOFS = {apsw.CorruptError, apsw.NotADBError}
ERRORS = [
    kind for kind in vars(apsw).values() if isinstance(kind, type) and issubclass(kind, apsw.Error)
]


@pytest.mark.parametrize("kind", ERRORS)
def test_a_log_is_to_be_given_up_only_when_it_is_damaged(kind: type[apsw.Error]) -> None:
    said = failed_open(Path("log.db"), kind("so it is"))
    assert any(word in said for word in GIVING_UP) == (kind in PROOFS), said
    assert "so it is; " in said


def test_a_state_is_to_be_given_up_only_when_it_is_damaged(tmp_path: Path) -> None:
    with (
        closing(RocksState(tmp_path / "state")),
        pytest.raises(Misconfigured, match="no other process has it") as held,
    ):
        RocksState(tmp_path / "state")
    assert not any(word in str(held.value) for word in GIVING_UP)
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured) as barred:
        RocksState(tmp_path / "file" / "state")
    assert not any(word in str(barred.value) for word in GIVING_UP)
    (tmp_path / "state" / "CURRENT").write_text("garbage")
    with pytest.raises(Misconfigured, match="move the folder away"):
        RocksState(tmp_path / "state")


def test_a_check_that_fails_is_a_finding_and_the_others_are_made(tmp_path: Path) -> None:
    def breaking(settings: object) -> Iterator[Finding]:
        del settings
        yield Finding("first", "ok", "")
        raise apsw.IOError("the disk is gone")

    def going_on(settings: object) -> Iterator[Finding]:
        del settings
        yield Finding("second", "ok", "")

    settings = read_settings({}, {"data": str(tmp_path)})
    assert examined(settings, [breaking, going_on]) == [
        Finding("first", "ok", ""),
        Finding("breaking", "fail", "IOError: the disk is gone"),
        Finding("second", "ok", ""),
    ]


def test_a_finding_of_ours_is_told_in_its_own_words(tmp_path: Path) -> None:
    def failing(settings: object) -> Iterator[Finding]:
        del settings
        yield from ()
        raise Damaged("tests_rows", "a part is gone")

    settings = read_settings({}, {"data": str(tmp_path)})
    (finding,) = examined(settings, [failing])
    assert finding.detail.startswith("tests_rows: a part is gone; run `penstock rebuild ")


def test_a_log_that_cannot_be_read_is_told_by_status_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"garbage" * 1_000)
    told = CliRunner().invoke(cli, ["status", "--data", str(tmp_path)])
    assert told.exit_code == 1
    assert f"reading the log {tmp_path / 'log.db'}: " in told.output
    assert "restore it from a backup" in told.output
    assert "NotADBError" not in told.output


def test_a_short_disk_is_told_with_what_is_wanted(tmp_path: Path) -> None:
    assert shortage(tmp_path, 0) == ""
    said = shortage(tmp_path, 1 << 62)
    assert f"and {1 << 62:,} are wanted; free some, or lower PENSTOCK_DISK_FREE_BYTES_MIN" in said


@pytest.mark.parametrize(
    ("setting", "remedy"), [("port", "--host and --port"), ("admin_port", "PENSTOCK_ADMIN_PORT")]
)
def test_a_port_that_is_taken_is_named_once(setting: str, remedy: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(Misconfigured) as refused,
            doors(msgspec.structs.replace(Settings(port=0), **{setting: port})),
        ):
            pass
    assert str(refused.value) == (
        f"listening on 127.0.0.1:{port}: {os.strerror(errno.EADDRINUSE)}; choose another with "
        f"{remedy}"
    )
    with pytest.raises(Misconfigured) as elsewhere, doors(Settings(host="192.0.2.1", port=0)):
        pass
    assert "(" not in str(elsewhere.value)


def test_a_port_is_had_before_anybody_is_let_in_and_given_back() -> None:
    with doors(Settings(port=0)) as found:
        place = found.users.getsockname()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(place)
        found.listen(1)
        socket.create_connection(place).close()
    assert found.users.fileno() == -1


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("PROJECTIONS", "nobody"),
        ("TRUSTED_PROXIES", "nobody"),
        ("ORIGINS", "nobody"),
        ("LOG", "nobody://x"),
        ("STATE", "nobody://x"),
        ("WAREHOUSE", "/x"),
    ],
)
def test_a_start_that_its_settings_forbid_makes_nothing(
    tmp_path: Path, setting: str, value: str
) -> None:
    with pytest.raises(Misconfigured, match=f"PENSTOCK_{setting}"):
        build({f"PENSTOCK_{setting}": value}, {"data": str(tmp_path / "data")})
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("year", [2031, 2049, 2050, 2150])
def test_a_certificates_last_moment(year: int) -> None:
    until = datetime(year, 2, 3, 4, 5, 6, tzinfo=UTC)
    issued = trustme.CA().issue_cert("127.0.0.1", not_after=until)
    assert not_after(issued.cert_chain_pems[0].bytes().decode()) == until.timestamp()


@pytest.mark.parametrize("damage", [emptied, removed])
def test_what_was_written_ahead_outlives_the_file_it_was_written_for(
    tmp_path: Path, damage: Damage
) -> None:
    """Reliability 46: SQLite takes an empty file for a new one, and throws away what is beside it;
    nothing of ours opens that, be it only to look.
    """
    file, ahead = tmp_path / "log.db", tmp_path / "log.db-wal"
    SqliteLog(file, MovedClock(), Limits()).close()
    ahead.write_bytes(b"what a stop without a fold leaves")
    damage(file)
    settings = read_settings({}, {"data": str(tmp_path)})
    with pytest.raises(Misconfigured, match="holds its newest records"):
        SqliteLog(file, MovedClock(), Limits())
    with pytest.raises((Misconfigured, NotReady)):
        SqliteFollower(file)
    found = {one.check: one for one in examined(settings, CHECKS)}
    assert (found["log"].verdict, "newest records" in found["log"].detail) == ("fail", True)
    assert ahead.read_bytes() == b"what a stop without a fold leaves"
