"""What is Redis's own: several writers, servers that are not fit, and servers that come and go."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
import trustme

from penstock.core.errors import Misconfigured, Moved, NotReady
from penstock.core.state import Entry, Position
from penstock.core.state.redis import RedisState
from services.ports import free_ports
from services.redis import RedisServer
from support.redis_state import LOG, SPACE, client, configured, move, plain

PATIENCE_SECONDS = 60.0


@pytest.fixture
def url(redis_url: str) -> str:
    with client(redis_url) as admin:
        admin.flushdb()
    return redis_url


@pytest.fixture
def state(url: str) -> Iterator[RedisState]:
    with closing(RedisState(url)) as opened:
        yield opened


@pytest.fixture
def other(url: str) -> Iterator[RedisState]:
    """Another process's, as far as Redis can tell."""
    with closing(RedisState(url)) as opened:
        yield opened


@pytest.fixture
def server(redis_server: RedisServer) -> RedisServer:
    """An empty one, to be killed and spoilt."""
    with client(redis_server.url) as admin:
        admin.flushdb()
    return redis_server


def await_keys(url: str, *expected: bytes) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    with client(url) as admin:
        while (found := sorted(admin.keys("*"))) != sorted(expected):
            assert time.monotonic() < deadline, found
            time.sleep(0.01)


def refusal(url: str) -> str:
    with pytest.raises(Misconfigured) as refused:
        RedisState(url)
    message = str(refused.value)
    assert message.startswith("PENSTOCK_STATE")
    assert "\n" not in message
    return message


# -- several writers ----------------------------------------------------------------------------


def test_of_two_writers_of_one_partition_every_step_is_taken_once(
    state: RedisState, other: RedisState
) -> None:
    """They meet at every step: both know where it is before either goes on."""
    together = threading.Barrier(2, timeout=PATIENCE_SECONDS)

    def climb(writer: RedisState) -> int:
        taken = 0
        for number in range(100):
            was = writer.position(SPACE, 0)
            together.wait()
            with suppress(Moved):
                position = Position(LOG, number + 1)
                entry = Entry(b"g", b"%03d" % number, b"")
                writer.apply(SPACE, [entry], partition=0, was=was, position=position)
                taken += 1
            together.wait()
        return taken

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(climb, [state, other])) == 100
    assert state.position(SPACE, 0) == Position(LOG, 100)
    assert len(list(state.scan(SPACE))) == 100


def test_writers_of_different_partitions_are_never_in_each_other_s_way(
    state: RedisState, other: RedisState
) -> None:
    def climb(writer: RedisState, partition: int) -> None:
        for number in range(100):
            move(writer, Entry(b"%d" % partition, b"%03d" % number, b""), partition=partition)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(climb, [state, other], [0, 1]))
    assert state.position(SPACE, 0) == state.position(SPACE, 1) == Position(LOG, 100)
    assert len(list(state.scan(SPACE))) == 200


def test_many_threads_share_one_state(state: RedisState) -> None:
    move(state, *(Entry(b"%d" % group, b"s", b"%d" % group) for group in range(8)))

    def look(group: int) -> None:
        for _ in range(50):
            assert state.first(SPACE, [b"%d" % group], 9) == [[(b"s", b"%d" % group)]]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(look, range(8)))


# -- replacing ----------------------------------------------------------------------------------


def test_another_client_sees_a_swap_at_once(state: RedisState, other: RedisState) -> None:
    shadow = SPACE + "__shadow"
    for turn in range(5):
        move(state, plain(b"a", b"%d" % turn), space=shadow)
        assert other.get_many(shadow, [b"a"]) == [b"%d" % turn]
        state.swap(shadow, SPACE)
        assert other.get_many(SPACE, [b"a"]) == [b"%d" % turn]
        assert other.get_many(shadow, [b"a"]) == [None]
        assert other.position(SPACE, 0) == Position(LOG, 1)


def test_a_writer_who_was_swapped_away_in_between_changes_nothing(
    state: RedisState, other: RedisState
) -> None:
    shadow = SPACE + "__shadow"
    move(state, plain(b"a", b"live"))
    move(state, plain(b"a", b"rebuilt"), space=shadow)
    move(state, space=shadow)
    was = other.position(SPACE, 0)
    state.swap(shadow, SPACE)
    with pytest.raises(Moved):
        other.apply(SPACE, [plain(b"a", b"late")], partition=0, was=was, position=Position(LOG, 2))
    assert state.get_many(SPACE, [b"a"]) == [b"rebuilt"]


def test_a_scan_of_a_space_that_is_replaced_meanwhile_says_so(
    state: RedisState, other: RedisState
) -> None:
    move(state, *(plain(b"%d" % group, b"") for group in range(500)))
    scan = state.scan(SPACE)
    next(scan)
    other.drop(SPACE)
    with pytest.raises(NotReady, match="replaced"):
        list(scan)


def test_what_was_dropped_leaves_nothing_behind(state: RedisState, url: str) -> None:
    move(state, *(Entry(b"%d" % group, b"s", b"") for group in range(2000)))
    move(state, partition=7)
    state.drop(SPACE)
    await_keys(url)


def test_a_process_that_ends_before_it_has_unlinked_leaves_that_to_the_next(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, closing(RedisState(url)) as killed:
        patched.setattr(killed, "_collect", lambda: None)
        move(killed, *(Entry(b"%d" % group, b"s", b"") for group in range(2000)))
        killed.drop(SPACE)
        assert killed.position(SPACE, 0) is None
    with client(url) as admin:
        assert admin.dbsize() == 2003  # the groups, their names, the position, and the garbage
    with closing(RedisState(url)):
        await_keys(url)


# -- servers that are not fit -------------------------------------------------------------------


def test_a_server_that_nobody_runs_is_named_without_its_password() -> None:
    (port,) = free_ports(1)
    message = refusal(f"redis://me:swordfish@127.0.0.1:{port}/0")
    assert f"redis://me:***@127.0.0.1:{port}/0 cannot be used" in message
    assert "see that it runs" in message
    assert "swordfish" not in message


@pytest.mark.parametrize(
    "wrong",
    [
        "redis://:12/swordfish@localhost",
        "redis://:12#swordfish@localhost",
        "redis://:12?swordfish@localhost",
        "redis://:sword/fish@localhost",
        "redis://localhost:swordfish/0",
        "redis://[localhost/0?swordfish",
        "redis://localhost/0?swordfish=1",
    ],
)
def test_a_url_that_is_none_is_not_repeated(wrong: str) -> None:
    message = refusal(wrong)
    assert "redis://user:password@host:6379/0" in message
    assert "fish" not in message


@pytest.mark.parametrize("login", ["", ":swordfish@", "me:swordfish@"])
def test_a_wrong_password_or_none_is_told_and_not_repeated(server: RedisServer, login: str) -> None:
    with configured(server.url, requirepass="correct"):  # whoever is in stays in
        message = refusal(server.url.replace("redis://", f"redis://{login}"))
        assert "does not let us in" in message
        assert "swordfish" not in message
        with closing(RedisState(server.url.replace("redis://", "redis://:correct@"))) as let:
            assert let.spaces() == []


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_server_that_would_forget_is_refused(server: RedisServer, policy: str) -> None:
    with configured(server.url, maxmemory_policy=policy):
        message = refusal(server.url)
    assert policy in message
    assert "set maxmemory-policy noeviction" in message


def test_a_replica_is_refused(server: RedisServer) -> None:
    with client(server.url) as admin:
        admin.replicaof("127.0.0.1", free_ports(1)[0])
        try:
            assert "name its primary" in refusal(server.url)
        finally:
            admin.replicaof("NO", "ONE")


def test_a_cluster_is_refused(server: RedisServer, tmp_path: Path) -> None:
    cluster = RedisServer(tmp_path)
    bus = str(free_ports(1)[0])
    cluster.command += ["--cluster-enabled", "yes", "--cluster-port", bus]
    with cluster:
        assert "is a cluster" in refusal(cluster.url)


def test_a_server_is_spoken_to_through_tls_and_has_to_prove_itself(
    server: RedisServer, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
        tmp_path / "server.pem"
    )
    (port,) = free_ports(1)
    secured = RedisServer(tmp_path)
    for name, value in {
        "tls-port": port,
        "tls-cert-file": tmp_path / "server.pem",
        "tls-key-file": tmp_path / "server.pem",
        "tls-auth-clients": "no",
    }.items():
        secured.command += [f"--{name}", str(value)]
    with secured:
        url = f"rediss://localhost:{port}/0"
        assert "certificate" in refusal(url)
        with closing(RedisState(f"{url}?ssl_ca_certs={tmp_path}/authority.pem")) as state:
            move(state, plain(b"a", b"1"))
            assert state.get_many(SPACE, [b"a"]) == [b"1"]


# -- servers that come and go -------------------------------------------------------------------


def test_a_server_that_is_killed_and_started_again_goes_on_where_it_was(
    server: RedisServer,
) -> None:
    with closing(RedisState(server.url)) as state:
        move(state, plain(b"a", b"1"))
        server.kill()
        for _ in range(2):
            with pytest.raises(NotReady, match=f"asking the state: {server.url}: "):
                move(state, plain(b"a", b"2"))
        with pytest.raises(NotReady):
            state.drop(SPACE)
        server.start()
        assert state.position(SPACE, 0) == Position(LOG, 1)
        move(state, plain(b"a", b"2"))
        assert state.get_many(SPACE, [b"a"]) == [b"2"]
        state.drop(SPACE)  # its scripts are gone from the server, and are sent anew
        assert state.spaces() == []


def test_a_server_that_comes_back_with_nothing_is_begun_anew(
    server: RedisServer, tmp_path: Path
) -> None:
    """Reliability 51."""
    with RedisServer(tmp_path) as losing, closing(RedisState(losing.url)) as state:
        move(state, plain(b"a", b"1"))
        was = state.position(SPACE, 0)
        losing.kill()
        shutil.rmtree(tmp_path / "redis" / "appendonlydir")
        losing.start()
        with pytest.raises(Moved):
            state.apply(SPACE, [], partition=0, was=was, position=Position(LOG, 2))
        with pytest.raises(NotReady, match="is gone"):
            state.first(SPACE, [b"a"], 1)
        move(state, plain(b"a", b"anew"))
        assert state.get_many(SPACE, [b"a"]) == [b"anew"]


def test_a_server_that_hangs_is_not_waited_for_long(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the URL says wins over the usual seconds, which would be for ever here."""
    monkeypatch.setattr("penstock.core.state.redis_server._ANSWER_SECONDS", 3_600.0)
    with closing(RedisState(f"{server.url}?socket_timeout=1")) as state:
        server.pause()
        try:
            with pytest.raises(NotReady, match=f"{server.url}: Timeout"):
                state.position(SPACE, 0)
        finally:
            server.resume()
        assert state.position(SPACE, 0) is None


def test_a_server_whose_memory_is_full_takes_nothing_and_tells_nobody_s_data(
    server: RedisServer,
) -> None:
    with closing(RedisState(server.url)) as state:
        move(state, plain(b"a", b"1"))
        with configured(server.url, maxmemory="1"):
            with pytest.raises(NotReady, match=r"memory") as refused:
                move(state, plain(b"swordfish", b"swordfish"))
            assert "fish" not in str(refused.value)
            assert state.position(SPACE, 0) == Position(LOG, 1)
            assert state.get_many(SPACE, [b"swordfish"]) == [None]
        move(state)


# -- the client ---------------------------------------------------------------------------------


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_without_the_client_the_start_says_what_to_install() -> None:
    said = run("import sys; sys.modules['redis'] = None; import penstock.core.state.redis")
    assert "Misconfigured" in said
    assert "pip install '.[redis]'" in said


def test_who_has_an_embedded_state_never_loads_the_client(tmp_path: Path) -> None:
    code = """
import sys
from penstock import main
from penstock.core.engines import open_state
from penstock.core.settings import Settings

open_state(Settings(state="rocksdb://{path}")).close()
print([name for name in sys.modules if name.partition(".")[0] in ("redis", "hiredis")])
"""
    assert run(code.format(path=tmp_path / "state")) == "[]\n"
