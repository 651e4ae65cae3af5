"""The example `wallet` as a gate: loaded, killed in the midst of it, rebuilt, compared, and looked
at again. `make e2e-wallet` starts it by its page before.
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from e2e.reader import ROOT, Reader, steps
from services.ports import free_ports
from support.process import COMMAND, Process, clean

PAGE = ROOT / "docs" / "write-an-application.md"
VIEWS = (
    "wallet.accounts", "wallet.shops", "wallet.receipts", "wallet.statements", "wallet_movements",
)  # fmt: skip
SECONDS_MAX = 900
"""For one command; nothing here takes as long."""


def gate(folder: Path, *, kills: int, accounts: int, seed: int = 1) -> str:
    """In a folder that has the package; the line of figures. Raise `AssertionError`."""
    port, receiver = map(str, free_ports(2))
    settings = {
        "PENSTOCK_APPLICATIONS": "wallet",
        "PENSTOCK_DISK_FREE_BYTES_MIN": "0",
        "PENSTOCK_REACH_NETWORKS": "127.0.0.0/8",
        "PENSTOCK_REACH_PORTS": receiver,
        "PYTHONPATH": str(folder),
    }

    def penstock(*words: str, status: int = 0) -> str:
        done = subprocess.run(
            [COMMAND, *words],
            env={**clean(), **settings}, capture_output=True, text=True, timeout=SECONDS_MAX,
            check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout if status == 0 else done.stderr

    def load(*words: str, status: int = 0) -> str:
        return penstock(
            "load", "wallet", "--receiver-port", receiver, "--accounts", str(accounts),
            "--seed", str(seed), "--statements", *words, status=status,
        )  # fmt: skip

    data, url = folder / "data-gate", f"http://127.0.0.1:{port}"
    serve = f"{COMMAND} serve --data {data} --port {port}"
    said = load("--url", url, "--serve", serve, "--kills", str(kills)).splitlines()[-1]
    server = Process(data, settings)
    try:
        url = server.url
        for view in VIEWS:
            assert "equal" in penstock("rebuild", view, "--data", str(data)).splitlines()
        load("--url", url, "--again")
        assert "another folder for --data" in load("--url", url, status=1), "what is not empty"
    finally:
        server.end()
    return f"{said}, {len(VIEWS)} views rebuilt equal"


def follow_page(reader: Reader) -> None:
    """All but its own load, which the gate makes larger."""
    for step in steps(PAGE):
        if step.heading.endswith("Prove it"):
            return
        if step.kind == "bash" and step.name != "make setup":
            reader.follow(step)


def main(kills: int) -> str:
    with TemporaryDirectory(prefix="wallet-") as made:
        reader = Reader(Path(made))
        try:
            follow_page(reader)
            reader.stop()
            shop = Path(made) / "clone" / "my-shop"
            seed = int(os.environ.get("SEED", "1"))
            return gate(shop, kills=kills, accounts=min(20 + 10 * kills, 2_000), seed=seed)
        finally:
            reader.close()


if __name__ == "__main__":
    sys.stdout.write(main(int(sys.argv[1])) + "\n")
