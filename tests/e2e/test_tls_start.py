"""What a server is told of TLS: a wrong certificate or key stops the start and says what to do."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from e2e.certificates import healthy, pair, penstock
from e2e.process import Server, failing

Serve = Callable[..., Server]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """What an operator may name by mistake, and what is right."""
    right, other = pair(tmp_path), pair(tmp_path, name="other")
    key = load_pem_private_key(right.key.read_bytes(), None)
    locked, garbage = tmp_path / "locked.key", tmp_path / "garbage.pem"
    locked.write_bytes(
        key.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"secret")
        )
    )
    garbage.write_bytes(bytes(range(256)))
    return {
        "right": str(right.certificate),
        "its key": str(right.key),
        "another key": str(other.key),
        "a locked key": str(locked),
        "garbage": str(garbage),
        "a folder": str(tmp_path),
        "nowhere": str(tmp_path / "nowhere.pem"),
        "": "",
    }


@pytest.mark.parametrize(
    ("certificate", "key", "named"),
    [
        ("right", "", ("PENSTOCK_TLS_CERTIFICATE", "set PENSTOCK_TLS_KEY too")),
        ("", "its key", ("PENSTOCK_TLS_KEY", "set PENSTOCK_TLS_CERTIFICATE too")),
        ("nowhere", "its key", ("PENSTOCK_TLS_CERTIFICATE", "name a PEM file")),
        ("right", "nowhere", ("PENSTOCK_TLS_KEY", "name a PEM file")),
        ("a folder", "its key", ("PENSTOCK_TLS_CERTIFICATE", "name a PEM file")),
        ("garbage", "its key", ("PENSTOCK_TLS_CERTIFICATE", "name a PEM file")),
        ("its key", "its key", ("PENSTOCK_TLS_CERTIFICATE", "name a PEM file")),
        ("right", "garbage", ("PENSTOCK_TLS_KEY", "name a PEM file")),
        ("right", "right", ("PENSTOCK_TLS_KEY", "name a PEM file")),
        ("right", "another key", ("PENSTOCK_TLS_KEY", "is not the key of")),
        ("right", "a locked key", ("PENSTOCK_TLS_KEY", "without a password")),
    ],
)
def test_a_certificate_that_cannot_be_used_stops_the_start_with_one_line(
    tmp_path: Path, files: dict[str, str], certificate: str, key: str, named: tuple[str, str]
) -> None:
    setting, remedy = named
    environment = {"PENSTOCK_TLS_CERTIFICATE": files[certificate], "PENSTOCK_TLS_KEY": files[key]}
    status, said = failing(tmp_path / "data", environment=environment)
    assert status == 2
    assert said.startswith(f"penstock: setting {setting}: ")
    assert remedy in said
    assert len(said.strip().splitlines()) == 1
    doctor = penstock(
        tmp_path / "data", "doctor", tls_certificate=files[certificate], tls_key=files[key]
    )
    assert doctor.returncode == 1
    assert setting in doctor.stdout


def test_the_certificate_may_stand_behind_notes_and_share_a_file_with_its_key(
    serve: Serve, tmp_path: Path
) -> None:
    made = pair(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(
        "żółć, by hand\n".encode() + made.key.read_bytes() + made.certificate.read_bytes()
    )
    server = serve(tls_certificate=str(both), tls_key=str(both))
    assert healthy(server)
    assert penstock(tmp_path / "data", "topics").returncode == 0
