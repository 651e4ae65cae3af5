"""`penstock pull-sql`: for teams that let ClickHouse consume by itself."""

import os
from urllib.parse import urlsplit

import click

_BROKERS = ("kafka", "kafkas")
_SERVERS = ("clickhouse", "clickhouses")


@click.command("pull-sql")
@click.option("--brokers", help="Brokers as ClickHouse reaches them; default: those of the log.")
def pull_sql(brokers: str | None) -> None:
    """Print the SQL by which ClickHouse reads topics by itself.

    They are for the server or cluster of the settings, and for topics that carry JSON. Let nobody
    project a table that is pulled: name the other projections in PENSTOCK_PROJECTIONS.
    """
    from penstock.core.errors import Misconfigured  # noqa: PLC0415 - heavy
    from penstock.core.warehouse import pull, sql  # noqa: PLC0415 - heavy
    from penstock.core.warehouse.cluster import layout  # noqa: PLC0415 - heavy
    from penstock.main import manifests, read_settings  # noqa: PLC0415 - heavy

    settings = read_settings(os.environ)
    log, url = urlsplit(settings.log_url), settings.warehouse_url
    if brokers is None and log.scheme not in _BROKERS:
        raise click.UsageError("the log is not on Kafka; name the brokers: --brokers host:9092")
    if urlsplit(url).scheme not in _SERVERS:
        raise click.UsageError("name a server: PENSTOCK_WAREHOUSE=clickhouse://host:8123/penstock")
    brokers = brokers or log.netloc.rpartition("@")[2]
    where = layout(url, settings.warehouse_cluster, replicated=settings.warehouse_replicated)
    for manifest in manifests(settings.applications):
        events = {topic.name: topic.events for topic in manifest.topics}
        tables = {where.name(text): text for text in sql.schema(manifest.package)}
        unique = {topic.name for topic in manifest.topics if topic.unique is not None}
        for one in sql.pulls(manifest.package):
            if one.topic in unique:
                raise Misconfigured(
                    f"pull.sql: records of {one.topic} may be repeats, which ClickHouse does not "
                    f"know; let Penstock project {one.table}"
                )
            statements = pull.statements(one, events[one.topic], brokers, where)
            for statement in (*where.create(tables[one.table]), *statements):
                click.echo(f"{statement};\n")
