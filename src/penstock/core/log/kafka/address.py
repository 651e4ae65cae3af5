"""What the URL in PENSTOCK_LOG says, as properties of librdkafka."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from confluent_kafka import KafkaError, KafkaException

from penstock.core.errors import Misconfigured
from penstock.core.settings import redacted

C = TypeVar("C")

EXAMPLE = "kafka://broker1:9092,broker2:9092"

_OURS = {
    "acks", "request.required.acks", "enable.idempotence", "enable.gapless.guarantee",
    "message.timeout.ms", "delivery.timeout.ms", "message.send.max.retries", "retries",
    "transactional.id", "group.id", "group.instance.id", "partition.assignment.strategy",
    "group.protocol",
    "enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset", "isolation.level",
    "enable.partition.eof", "check.crcs",
    "bootstrap.servers", "metadata.broker.list", "security.protocol",
}  # fmt: skip
"""What the promises of the log rest on, and what the rest of the URL says."""

_QUIET = {
    # What librdkafka would write to standard error reaches us as errors, and is told once.
    "log_level": 0,
    "client.id": "penstock",
    # A broker that hangs is given up before its group misses us; the default is a minute.
    "socket.timeout.ms": 10_000,
    "socket.keepalive.enable": True,
    # Brokers that come back are found within a second, not within ten.
    "reconnect.backoff.max.ms": 1_000,
}


def properties(url: str) -> dict[str, Any]:
    """Raise `Misconfigured` for a URL that names no brokers, or sets what is not to be set.

    `kafka://` is plain, `kafkas://` is TLS. A user and a password are sent by SASL, PLAIN unless
    the query says `sasl.mechanism=SCRAM-SHA-512` or the like; it may name any other property.
    """
    parts = urlsplit(url)
    user, _, hosts = parts.netloc.rpartition("@")
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    if not hosts or parts.path.strip("/"):
        raise Misconfigured(f"PENSTOCK_LOG: {redacted(url)} is not of the form {EXAMPLE}")
    if taken := sorted(_OURS & given.keys()):
        raise Misconfigured(
            f"PENSTOCK_LOG: {', '.join(taken)} cannot be set: what the log promises rests on it"
        )
    secure = parts.scheme == "kafkas"
    found: dict[str, Any] = {**_QUIET, "bootstrap.servers": hosts}
    found["security.protocol"] = "SSL" if secure else "PLAINTEXT"
    if user:
        name, _, password = user.partition(":")
        found["security.protocol"] = "SASL_SSL" if secure else "SASL_PLAINTEXT"
        found["sasl.mechanism"] = "PLAIN"
        found["sasl.username"], found["sasl.password"] = unquote(name), unquote(password)
    return {**found, **given}


def client(kind: Callable[[Any], C], wanted: Mapping[str, Any]) -> C:
    """A client of librdkafka. Raise `Misconfigured` for properties that it does not take."""
    try:
        return kind(dict(wanted))
    except (KafkaException, TypeError, ValueError) as error:
        raise Misconfigured(f"PENSTOCK_LOG: {reason(error)}") from error


def reason(error: Exception | KafkaError) -> str:
    """What went wrong, in the client's own words."""
    cause = error.args[0] if isinstance(error, KafkaException) and error.args else error
    return cause.str() if isinstance(cause, KafkaError) else str(cause)
