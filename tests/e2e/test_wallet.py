"""The example `wallet` by its real processes; `make e2e-wallet` kills it more often."""

import shutil
from pathlib import Path

from e2e.reader import ROOT
from e2e.wallet import gate


def test_a_wallet_that_is_killed_and_made_again_is_right_to_the_cent(tmp_path: Path) -> None:
    """Reliability 1."""
    package = tmp_path / "wallet"
    shutil.copytree(ROOT / "examples" / "wallet", package)
    stated = package / "statements.py"
    stated.write_text(stated.read_text().replace("0 0 * * * Europe/Warsaw", "2 s"))

    said = gate(tmp_path, kills=1, accounts=6)

    assert "right to the cent" in said
    assert ", 1 kills" in said
