"""TLS: what the edge shows to its clients, and what our own clients know it by."""

import ssl
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from penstock.core.errors import Misconfigured

_NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which the standard library does not name."""
_VERSION, _UTC_TIME = 0xA0, 0x17
"""Tags of DER."""
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


class Identity:
    """A certificate with its key, read once."""

    def __init__(self, certificate: str, key: str) -> None:
        """Paths of PEM files. Raise `Misconfigured`, naming the setting and the remedy."""
        for path, setting in ((certificate, "TLS_CERTIFICATE"), (key, "TLS_KEY")):
            _check_readable(path, setting)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            # Asked for a password, OpenSSL would wait at the terminal.
            self.context.load_cert_chain(certificate, key, password="")
        except (ssl.SSLError, ValueError) as error:
            raise Misconfigured(_reason(certificate, key, error)) from error
        self.certificate = _leaf(certificate)
        """The server's own, in PEM, without those that vouch for it."""


def identity(certificate: str, key: str) -> Identity | None:
    """None where neither is set. Raise `Misconfigured`."""
    if not certificate and not key:
        return None
    if not key:
        raise Misconfigured(
            "setting PENSTOCK_TLS_CERTIFICATE: it needs its key; set PENSTOCK_TLS_KEY too, or none"
        )
    if not certificate:
        raise Misconfigured(
            "setting PENSTOCK_TLS_KEY: it needs a certificate; set PENSTOCK_TLS_CERTIFICATE too, "
            "or none"
        )
    return Identity(certificate, key)


class Address(NamedTuple):
    """Where a server of ours listens, and the certificate (PEM) that it shows there."""

    url: str
    certificate: str = ""

    def connect(self, timeout_seconds: float) -> HTTPConnection:
        place = urlsplit(self.url).netloc
        if not self.certificate:
            return HTTPConnection(place, timeout=timeout_seconds)
        return HTTPSConnection(place, timeout=timeout_seconds, context=_knowing(self.certificate))


def _knowing(certificate: str) -> ssl.SSLContext:
    """A client's context that believes this one certificate, and no other.

    Whose it is needs no authority: the server itself wrote it down for us. So it may name any
    host, and an operator can still ask when it has expired.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    context.load_verify_locations(cadata=certificate)
    return context


def _check_readable(path: str, setting: str) -> None:
    try:
        with Path(path).open("rb"):
            return
    except OSError as error:
        raise Misconfigured(
            f"setting PENSTOCK_{setting}: {path} cannot be read: {error.strerror}; "
            "name a PEM file that this user may read"
        ) from error


def _reason(certificate: str, key: str, error: Exception) -> str:
    if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
        return (
            f"setting PENSTOCK_TLS_KEY: {key} is not the key of {certificate}; name the two of one"
        )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certificate)
    except (ssl.SSLError, OSError):
        return _no_certificate(certificate)
    return (
        f"setting PENSTOCK_TLS_KEY: {key} holds no key that can be read; "
        "name a PEM file, without a password"
    )


def _no_certificate(path: str) -> str:
    return (
        f"setting PENSTOCK_TLS_CERTIFICATE: {path} holds no certificate that can be read; "
        "name a PEM file, the server's own certificate first"
    )


def _leaf(path: str) -> str:
    chain = Path(path).read_text("latin-1")  # between certificates anything may stand
    begin = chain.find(_BEGIN)
    if begin < 0:
        raise Misconfigured(_no_certificate(path))
    return chain[begin : chain.index(_END, begin) + len(_END)] + "\n"


def not_after(certificate: str) -> float:
    """Seconds since the epoch until which a certificate (PEM) is valid.

    The standard library tells it of authorities only. Raise `ValueError` for no certificate.
    """
    _, body, _ = _element(ssl.PEM_cert_to_DER_cert(certificate))
    _, rest, _ = _element(body)
    kinds = []
    while rest:  # [version], serial number, algorithm, issuer, validity: a version may be missing
        kind, value, rest = _element(rest)
        kinds.append((kind, value))
    validity = kinds[4 if kinds[0][0] == _VERSION else 3][1]
    _, _, second = _element(validity)
    kind, spelled, _ = _element(second)
    form = "%y%m%d%H%M%SZ" if kind == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(spelled.decode(), form).replace(tzinfo=UTC).timestamp()


def _element(der: bytes) -> tuple[int, bytes, bytes]:
    """The first element of DER: its tag, its value, and what follows it."""
    length, start = der[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[2:start])
    return der[0], der[start : start + length], der[start + length :]
