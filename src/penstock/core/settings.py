"""Settings: frozen structs, read once at start from the environment over a TOML file.

Every field has a description and, where it measures something, its unit in its name. An unknown or
misspelt setting stops the start and names the nearest known one; a value out of range is answered
with its bound; secrets (URLs with a password) never print.
"""

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import msgspec
from msgspec import Meta

from penstock.core import misset
from penstock.core.errors import Misconfigured

PREFIX, CONFIG_VARIABLE = misset.PREFIX, misset.CONFIG_VARIABLE
redacted = misset.redacted

Count = Annotated[int, Meta(ge=1)]
Bytes = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    data: Annotated[str, Meta(description="Folder of the embedded engines.")] = "data"
    log: Annotated[str, Meta(description="URL of the event log; empty: `sqlite` in `data`.")] = ""
    warehouse: Annotated[
        str, Meta(description="URL of the warehouse; empty: `chdb` in `data`.")
    ] = ""
    warehouse_cluster: Annotated[
        str,
        Meta(
            pattern=r"^[\w.-]*$",
            description="Cluster of the ClickHouse server on whose hosts the tables are spread; "
            "empty: the one host.",
        ),
    ] = ""
    warehouse_replicated: Annotated[
        bool,
        Meta(description="The tables of the ClickHouse server are copied among its replicas."),
    ] = False
    state: Annotated[
        str, Meta(description="URL of the keyed state; empty: `rocksdb` in `data`.")
    ] = ""
    database: Annotated[
        str, Meta(description="URL of what people edit; empty: `sqlite` in `data`.")
    ] = ""
    objects: Annotated[
        str, Meta(description="URL of the object store. No application uses it yet.")
    ] = ""
    applications: Annotated[
        str,
        Meta(
            description="Applications, comma-separated, that the process serves, ours by their "
            "names, others by their packages, as in `audiences, shop.wallet`; nothing of another "
            "is imported, and settings of ours that are not served are left alone; empty: all of "
            "ours."
        ),
    ] = ""
    projections: Annotated[
        str,
        Meta(
            description="Projections, comma-separated, that the role work carries in this process; "
            "empty: all of them."
        ),
    ] = ""
    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on; 0: any.")] = 8080
    tls_certificate: Annotated[
        str,
        Meta(
            description="PEM file of the server's certificate and of those that vouch for it; "
            "with `tls_key`: serve TLS, and nothing else."
        ),
    ] = ""
    tls_key: Annotated[
        str, Meta(description="PEM file of the certificate's private key, without a password.")
    ] = ""
    trusted_proxies: Annotated[
        str,
        Meta(
            description="Addresses and networks, comma-separated, whose `X-Forwarded-For`, "
            "`X-Forwarded-Host`, `X-Forwarded-Proto`, `Forwarded` and `X-Request-Id` are believed: "
            "they have to write each, or take away what came; `*`: everyone's."
        ),
    ] = ""
    hosts: Annotated[
        str,
        Meta(
            description="Hosts that are claimed for a class of operations, comma-separated, as in "
            "`console=app.example, links=go.example, links=*.go.example`; `*`: every host that is "
            "claimed for nothing else. Classes are `console` and `links`; what is of neither is "
            "answered on every host."
        ),
    ] = "console=*"
    origins: Annotated[
        str,
        Meta(
            description="Origins, comma-separated, of pages that may send events from browsers, "
            "as in `https://shop.example`; `*`: every one; empty: none."
        ),
    ] = ""
    remember_heads: Annotated[
        bool, Meta(description="Parse no head of a request again that came before, byte for byte.")
    ] = True
    admin_port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="Port, on the loopback only, of `POST /admin/reset`, which forgets "
            "everything. For test rigs; 0: off.",
        ),
    ] = 0
    log_level: Annotated[
        str,
        Meta(
            pattern="^(debug|info|warning|error)$",
            description="Least severe log line written: debug, info, warning or error.",
        ),
    ] = "info"
    log_format: Annotated[
        str,
        Meta(pattern="^(auto|json|console)$", description="auto: console on a terminal."),
    ] = "auto"
    head_bytes_max: Annotated[
        Bytes, Meta(description="Largest request line and headers together.")
    ] = 16_384
    head_fields_max: Annotated[Count, Meta(description="Most header fields of a request.")] = 100
    head_seconds_max: Annotated[
        Seconds, Meta(description="Longest wait for a head that has begun to arrive.")
    ] = 10.0
    body_seconds_max: Annotated[
        Seconds, Meta(description="Longest wait for a body whose head has arrived.")
    ] = 10.0
    send_seconds_max: Annotated[
        Seconds, Meta(description="Longest wait for a client to read its answer.")
    ] = 30.0
    keep_alive_seconds: Annotated[
        Seconds, Meta(description="How long a connection may stay open between requests.")
    ] = 75.0
    connections_max: Annotated[
        int,
        Meta(
            ge=0,
            description="Connections at once; beyond, the idlest are closed, of an address that "
            "holds half of them its own. 0: what the limit of open files leaves when the stores "
            "have theirs.",
        ),
    ] = 0
    arriving_bytes_max: Annotated[
        Bytes,
        Meta(
            description="Bytes of requests that have arrived in part, or wait behind others of "
            "their connection; beyond, the oldest are answered 503."
        ),
    ] = 134_217_728
    requests_in_flight_max: Annotated[
        Count,
        Meta(
            description="Requests that arrived in full and are not answered before further ones "
            "are answered 503."
        ),
    ] = 4096
    queue_records_max: Annotated[
        Count, Meta(description="Records waiting for the log before ingest is answered 503.")
    ] = 200_000
    queue_bytes_max: Annotated[
        Bytes, Meta(description="Bytes waiting for the log before ingest is answered 503.")
    ] = 134_217_728
    disk_free_bytes_min: Annotated[
        int, Meta(ge=0, description="Free space below which new events are refused with 503.")
    ] = 268_435_456
    query_seconds_max: Annotated[
        Seconds, Meta(description="Longest time a warehouse query may run.")
    ] = 30.0
    query_memory_bytes_max: Annotated[
        Bytes, Meta(description="Most memory a warehouse query may take.")
    ] = 536_870_912
    drain_seconds_max: Annotated[
        Seconds, Meta(description="Longest time a stop may take to finish what was accepted.")
    ] = 8.0
    idempotency_hours: Annotated[
        Seconds,
        Meta(
            description="How long an `Idempotency-Key` is remembered; on Kafka by its edge alone."
        ),
    ] = 24.0
    reach_networks: Annotated[
        str,
        Meta(
            description="Networks, comma-separated, that jobs and schedules may reach besides the "
            "public addresses, as in `10.1.0.0/16, ::1`."
        ),
    ] = ""
    reach_ports: Annotated[
        str, Meta(description="Ports, comma-separated, that jobs and schedules may reach.")
    ] = "80, 443"
    reach_seconds_max: Annotated[
        Seconds,
        Meta(description="Longest that a request to others may take, from its turn to its end."),
    ] = 30.0
    reach_answer_bytes_max: Annotated[
        Bytes, Meta(description="Largest answer that is taken from others, also when inflated.")
    ] = 1_048_576
    reach_at_once_max: Annotated[
        Count, Meta(description="Requests to others that are under way at once.")
    ] = 64
    reach_host_at_once_max: Annotated[
        Count, Meta(description="Of these, to one host and port.")
    ] = 8
    reach_certificates: Annotated[
        str,
        Meta(
            description="PEM file of authorities whose certificates jobs and schedules believe "
            "besides those that the system believes."
        ),
    ] = ""
    kept_hours: Annotated[
        str,
        Meta(
            description="Hours that the records of topics are kept, comma-separated, as in "
            "`audiences.tags=720`; `*=720`: of all others; 0: for ever. A topic that is not named: "
            "as its application says."
        ),
    ] = ""
    kept_bytes: Annotated[
        str,
        Meta(
            description="Bytes that topics may take, as in `audiences.tags=50e9`, before their "
            "oldest records go; `*=50e9`: each other one; 0: as many as there are. A topic that is "
            "not named: as its application says."
        ),
    ] = ""
    kafka_partitions: Annotated[
        int,
        Meta(ge=1, le=32_768, description="Partitions that a topic has on Kafka, at the least."),
    ] = 12
    kafka_replication: Annotated[
        Count, Meta(description="Copies that Kafka keeps of a topic made by `penstock migrate`.")
    ] = 3
    kafka_format: Annotated[
        str,
        Meta(
            pattern="^(json|avro|msgpack)$",
            description="How records are written to Kafka: json, avro or msgpack; all are read.",
        ),
    ] = "json"
    kafka_schema_registry: Annotated[
        str,
        Meta(description="URL of the registry of Avro schemas; empty: schemas are numbered here."),
    ] = ""
    kafka_spool_after_seconds: Annotated[
        Seconds,
        Meta(
            description="How long events wait for the brokers before they are kept in `data`, "
            "to be sent later."
        ),
    ] = 1.0

    @property
    def folder(self) -> Path:
        return Path(self.data)

    @property
    def log_url(self) -> str:
        return self.log or f"sqlite://{self.folder.absolute()}/log.db"

    @property
    def warehouse_url(self) -> str:
        return self.warehouse or f"chdb://{self.folder.absolute()}/warehouse"

    @property
    def state_url(self) -> str:
        return self.state or f"rocksdb://{self.folder.absolute()}/state"

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite://{self.folder.absolute()}/database.db"


S = TypeVar("S", bound=msgspec.Struct)


def load(
    environment: Mapping[str, str],
    applications: Mapping[str, type[msgspec.Struct]],
    overrides: Mapping[str, object] | None = None,
) -> tuple[Settings, dict[str, msgspec.Struct]]:
    """The core's settings and each application's, by name.

    `PENSTOCK_PORT` is the core's `port`; `PENSTOCK_AUDIENCES_QUERY_DEBUG` is `query_debug` of the
    application `audiences`. In the TOML file an application's settings are a table of its name.
    `overrides` are the command line's, and win over both. Of `applications` only those are looked
    up that `PENSTOCK_APPLICATIONS` chooses, also such as are not among those it lists.
    """
    file = _read_file(environment.get(CONFIG_VARIABLE))
    said = {**file, **_given(environment), **(overrides or {})}.get("applications", "")
    chosen = _by_name(listed(str(said)) or [*applications])
    sections: dict[str, dict[str, object]] = {name: {} for name in (*applications, *chosen)}
    core: dict[str, object] = {}
    for key, value in file.items():
        if key in sections and isinstance(value, dict):
            sections[key].update(value)
        elif isinstance(value, dict):
            raise Misconfigured(misset.unknown_table(key, sections))
        else:
            core[key] = value
    for name, value in _given(environment).items():
        section, field = _locate(name, sections)
        (sections[section] if section else core)[field] = value
    core.update(overrides or {})
    settings = _convert(core, Settings, PREFIX)
    return settings, {
        name: _convert(sections[name], applications[path], f"{PREFIX}{name.upper()}_")
        for name, path in chosen.items()
    }


def _given(environment: Mapping[str, str]) -> dict[str, str]:
    """What is set, by the names of settings."""
    return {
        variable.removeprefix(PREFIX).lower(): value
        for variable, value in environment.items()
        if variable.startswith(PREFIX) and variable != CONFIG_VARIABLE
    }


def listed(text: str) -> list[str]:
    """What a setting names, comma-separated: each once."""
    return list(dict.fromkeys(name for word in text.split(",") if (name := word.strip())))


def _by_name(chosen: Collection[str]) -> dict[str, str]:
    """An application is called as its package is, without what that lies in."""
    found: dict[str, str] = {}
    for path in chosen:
        if wrong := misset.no_package(path):
            raise Misconfigured(wrong)
        name = path.rpartition(".")[2]
        if (other := found.setdefault(name, path)) != path:
            raise Misconfigured(
                f"{PREFIX}APPLICATIONS: {other} and {path} are both called {name}; rename one"
            )
    return found


def _read_file(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(Path(path).read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Misconfigured(f"reading {CONFIG_VARIABLE}={path}: {error}") from error


def _locate(name: str, applications: Collection[str]) -> tuple[str, str]:
    for application in applications:
        if name.startswith(f"{application}_"):
            return application, name.removeprefix(f"{application}_")
    return "", name


def _convert(values: dict[str, object], struct: type[S], prefix: str) -> S:
    known = get_type_hints(struct)
    for name in values:
        if name not in known:
            raise Misconfigured(misset.unknown(name, known, prefix))
    for name, value in values.items():
        try:
            msgspec.convert({name: _word(value)}, struct, strict=False)
        except msgspec.ValidationError as error:
            reason = str(error).split(" - at ")[0]
            raise Misconfigured(misset.unfit(name, value, reason, prefix)) from error
    return msgspec.convert({k: _word(v) for k, v in values.items()}, struct, strict=False)


def _word(value: object) -> object:
    """`on` and `off` are booleans too; everything else is converted by the field's own type."""
    return {"on": True, "off": False}.get(value, value) if isinstance(value, str) else value
