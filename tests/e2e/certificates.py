"""Certificates, clients that believe them, and the command that is told of them."""

import socket
import ssl
import subprocess
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import trustme

from e2e.process import PATIENCE_SECONDS, PENSTOCK, Server, clean_environment

AUTHORITY = trustme.CA()


class Pair(NamedTuple):
    """Files of a certificate and its key."""

    certificate: Path
    key: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"tls_certificate": str(self.certificate), "tls_key": str(self.key)}


def pair(folder: Path, *, valid_until: datetime | None = None, name: str = "tls") -> Pair:
    issued = AUTHORITY.issue_cert("127.0.0.1", not_after=valid_until)
    made = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    chain = [*issued.cert_chain_pems, AUTHORITY.cert_pem]
    made.certificate.write_bytes(b"".join(part.bytes() for part in chain))
    made.key.write_bytes(issued.private_key_pem.bytes())
    return made


def trusting() -> ssl.SSLContext:
    """A client's context, as strict as they come by default: names are checked as well."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def connect(server: Server, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS)
    try:
        return (context or trusting()).wrap_socket(plain, server_hostname="127.0.0.1")
    except BaseException:
        plain.close()
        raise


def healthy(server: Server) -> bool:
    with connect(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


def penstock(
    data: Path, *words: str, wrapper: Sequence[str] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    named = {f"PENSTOCK_{name.upper()}": value for name, value in environment.items()}
    return subprocess.run(
        [*wrapper, PENSTOCK, *words, "--data", data],
        env=clean_environment(named),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS * 2,
        check=False,
    )
