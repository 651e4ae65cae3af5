"""What imports what, and that importing does nothing else."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

ONLY_WHEN_NEEDED = ("chdb", "clickhouse_connect", "numpy", "pandas", "pyarrow", "rocksdict")
"""Together half a second and a hundred megabytes that `penstock --help` need not wait for."""

IMPORT_EVERYTHING = """
import importlib, pkgutil, socket, threading

import penstock

opened = []

class Watched(socket.socket):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        opened.append((module, self))

socket.socket = Watched
threads = threading.active_count()
for found in pkgutil.walk_packages(penstock.__path__, "penstock."):
    module = found.name
    if not module.endswith("__main__"):
        importlib.import_module(module)
        assert threading.active_count() == threads, f"{module} starts a thread"
left = [module for module, opened_socket in opened if opened_socket.fileno() != -1]
assert not left, f"{left} leave sockets open"
"""


def run(*command: str) -> str:
    """Its standard output. A failure shows what it said."""
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_importing_starts_no_thread_and_leaves_no_socket_open_and_no_file_behind(
    tmp_path: Path,
) -> None:
    run("-c", f"import os; os.chdir({str(tmp_path)!r})\n{IMPORT_EVERYTHING}")

    assert list(tmp_path.iterdir()) == []


def test_the_command_line_imports_heavy_libraries_only_when_a_command_needs_them() -> None:
    loaded = run("-c", "import sys, penstock.cli; print(*sys.modules)").split()

    assert sorted(set(loaded) & set(ONLY_WHEN_NEEDED)) == []


EMBEDDED = """
import sys, tempfile
from penstock.main import build

with tempfile.TemporaryDirectory() as folder:
    platform = build({"PENSTOCK_DATA": folder, "PENSTOCK_DISK_FREE_BYTES_MIN": "0"})
    platform.start()
    platform.close()
print(*{name.partition(".")[0] for name in sys.modules})
"""


def test_who_uses_no_distributed_engine_imports_nothing_of_their_clients() -> None:
    loaded = set(run("-c", EMBEDDED).split())

    assert loaded & {"confluent_kafka", "fastavro", "hiredis", "redis"} == set()
    assert loaded & {"alembic", "psycopg", "sqlalchemy"} == set(), "no application has entities"
    assert {"apsw", "chdb", "rocksdict"} <= loaded
