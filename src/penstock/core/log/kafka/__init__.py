"""The log on Kafka, or on any brokers that speak its protocol: the extra `kafka`.

Records are acknowledged once all in-sync replicas have them. While the brokers are away the edge
keeps what it accepts in a spool of its own, and sends it, in order, when they are back.
"""

from penstock.core.errors import lacking

try:
    import confluent_kafka  # noqa: F401 - asked for here, before any module of this package
except ImportError as error:
    raise lacking("PENSTOCK_LOG names Kafka, and its client", "kafka") from error
