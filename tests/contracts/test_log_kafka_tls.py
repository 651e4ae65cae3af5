"""The log on Kafka through TLS and with passwords."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from penstock.core.errors import Misconfigured
from services.kafka import Kafka, KafkaCluster
from support.kafka import kafka_settings, new_topic, open_edge
from support.logs import add, contents

pytestmark = pytest.mark.services


class Guarded(Kafka):
    """One broker that speaks TLS and wants a password."""

    def __init__(self, folder: Path, cluster: KafkaCluster) -> None:
        super().__init__(cluster.bootstrap)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        own = authority.issue_cert("127.0.0.1")
        chain = b"".join(certificate.bytes() for certificate in own.cert_chain_pems)
        (folder / "own.pem").write_bytes(_for_java(own.private_key_pem.bytes()) + chain)
        self.trust = f"ssl.ca.location={quote(str(folder / 'ca.pem'))}"
        _guard(folder / "kafka-0" / "server.properties", folder / "own.pem")

    def with_password(self, password: str, mechanism: str = "PLAIN") -> str:
        query = f"{self.trust}&sasl.mechanism={mechanism}"
        return f"kafkas://penstock:{quote(password, safe='')}@{self.bootstrap}?{query}"


def _for_java(key: bytes) -> bytes:
    return load_pem_private_key(key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def _guard(properties: Path, certificate: Path) -> None:
    login = "org.apache.kafka.common.security.plain.PlainLoginModule"
    lines = properties.read_text().replace("BROKER:PLAINTEXT", "BROKER:SASL_SSL")
    guarded = {
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificate),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificate.with_name("ca.pem")),
        "listener.name.broker.plain.sasl.jaas.config": (
            f'{login} required username="penstock" password="p@ss:w/rd" user_penstock="p@ss:w/rd";'
        ),
    }
    properties.write_text(lines + "".join(f"{key}={value}\n" for key, value in guarded.items()))


@pytest.fixture(scope="module")
def guarded(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    cluster = KafkaCluster(folder, brokers=1)
    kafka_behind = Guarded(folder, cluster)
    with cluster:
        yield kafka_behind


def test_with_tls_and_a_password_everything_is_as_without(guarded: Guarded, tmp_path: Path) -> None:
    settings = kafka_settings(
        guarded, tmp_path, log=guarded.with_password("p@ss:w/rd"), kafka_replication=1,
        kafka_spool_after_seconds=60.0,
    )  # fmt: skip
    topic = new_topic(settings)
    log = open_edge(settings, topic)
    try:
        add(log, b"a", topic=topic)
        assert contents(log, topic) == [b"a"]
    finally:
        log.close()


def test_a_wrong_password_stops_the_start_and_is_not_told(guarded: Guarded, tmp_path: Path) -> None:
    settings = kafka_settings(guarded, tmp_path, log=guarded.with_password("s3cret"))
    with pytest.raises(Misconfigured, match=r"PENSTOCK_LOG.*(?i:authentication)") as refusal:
        open_edge(settings, "tests.any")
    assert "s3cret" not in str(refusal.value)


def test_a_server_that_nobody_vouches_for_stops_the_start(guarded: Guarded, tmp_path: Path) -> None:
    url = guarded.with_password("p@ss:w/rd").replace(guarded.trust + "&", "")
    settings = kafka_settings(guarded, tmp_path, log=url)
    with pytest.raises(Misconfigured, match=r"PENSTOCK_LOG.*certificate"):
        open_edge(settings, "tests.any")
