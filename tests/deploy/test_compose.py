"""The stack of compose.yaml, as far as it can be judged without an engine that runs containers."""

import re
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

import click
import pytest

from deploy.stack import DEPLOY, PINNED, compose, operator_paths, services, settings, version
from penstock.cli import serve
from penstock.core.platform import ROLES
from penstock.core.settings import Settings

SERVICES = services()
PENSTOCK = {name: s for name, s in SERVICES.items() if s["image"].startswith("penstock:")}
SERVING = {name: s for name, s in PENSTOCK.items() if s["command"][0] == "serve"}
BROKERS = {name: s for name, s in SERVICES.items() if s["image"].startswith("apache/kafka:")}
ONCE = {name for name, service in SERVICES.items() if service["restart"] == "no"}
SECONDS = {"ms": 0.001, "s": 1, "m": 60}


def seconds(spelled: str) -> float:
    found = re.fullmatch(r"(\d+)(ms|s|m)", spelled)
    assert found is not None, spelled
    return int(found[1]) * SECONDS[found[2]]


def before(name: str) -> set[str]:
    """Everything that has to be there before a service starts."""
    waited_for = set(SERVICES[name].get("depends_on", {}))
    return waited_for | set(chain.from_iterable(before(other) for other in waited_for))


# -- every service --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_its_image_is_pinned(name: str) -> None:
    assert PINNED.match(SERVICES[name]["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_it_is_checked_or_runs_once(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    if name in ONCE:
        assert check == {"disable": True}
        return

    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert seconds(check["timeout"]) <= seconds(check["interval"])
    assert {"retries", "start_period", "start_interval"} <= set(check)


@pytest.mark.parametrize("name", SERVICES)
def test_it_waits_for_what_is_there_and_can_say_so(name: str) -> None:
    for other, wanted in SERVICES[name].get("depends_on", {}).items():
        done = "service_completed_successfully" if other in ONCE else "service_healthy"

        assert wanted == {"condition": done}


@pytest.mark.parametrize("name", SERVICES)
def test_it_comes_back_and_its_log_is_bounded(name: str) -> None:
    assert SERVICES[name]["restart"] == ("no" if name in ONCE else "unless-stopped")
    assert SERVICES[name]["logging"] == {"driver": "local"}


def test_the_order_has_a_beginning_and_engines_come_first() -> None:
    assert before("clickhouse") == {"keeper"}
    assert before("migrate") == {*BROKERS, "clickhouse", "keeper"}
    for name in SERVING:
        assert before(name) >= {"migrate", *before("migrate")}
    assert before("balancer") >= {"edge-1", "edge-2", "api"}


def test_ports_do_not_collide_and_stay_on_this_machine() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert sorted(published) == [
        "127.0.0.1:3000:3000",
        "127.0.0.1:8080:8080",
        "127.0.0.1:9090:9090",
    ]


def test_every_volume_is_declared_and_belongs_to_one_service() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    sources = [mount.split(":")[0] for mount in mounts]
    named = [source for source in sources if not source.startswith("./")]

    assert sorted(named) == sorted(compose()["volumes"])
    for source in set(sources) - set(named):
        assert (DEPLOY / source).exists(), source


# -- Penstock -------------------------------------------------------------------------------------


def test_the_stack_runs_every_role_and_two_edges() -> None:
    roles = [_roles(service["command"]) for service in SERVING.values()]

    assert sorted(roles) == sorted([("edge",), ("edge",), ("api",), ("work",)])
    assert {role for given in roles for role in given} == set(ROLES)


def _roles(command: list[str]) -> tuple[str, ...]:
    assert isinstance(serve, click.Command)
    parameters: dict[str, Any] = serve.make_context("serve", command[1:]).params
    roles: tuple[str, ...] = parameters["roles"]
    return roles


@pytest.mark.parametrize("name", PENSTOCK)
def test_its_settings_are_known_and_lead_to_services(name: str) -> None:
    given = settings(PENSTOCK[name]["environment"])

    for url in (given.log, given.warehouse, given.state):
        places = urlsplit(url).netloc.rpartition("@")[2].split(",")
        assert {place.partition(":")[0] for place in places} <= set(SERVICES)
    assert urlsplit(given.log).netloc.split(",") == [f"{broker}:9092" for broker in BROKERS]
    assert (given.database, given.objects) == ("", "")


@pytest.mark.parametrize("name", PENSTOCK)
def test_its_image_is_the_one_of_this_version(name: str) -> None:
    assert PENSTOCK[name]["image"] == f"penstock:{version()}"
    build = PENSTOCK[name]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).exists()


@pytest.mark.parametrize("name", SERVING)
def test_it_is_asked_whether_it_is_ready(name: str) -> None:
    service = SERVING[name]
    found = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)", service["healthcheck"]["test"][-1])

    assert found is not None
    assert found[1] == service["environment"]["PENSTOCK_PORT"]
    assert found[2] == "/readyz"
    assert found[2] in operator_paths()


@pytest.mark.parametrize("name", SERVING)
def test_it_has_the_time_to_drain(name: str) -> None:
    assert seconds(SERVING[name]["stop_grace_period"]) >= 2 * Settings().drain_seconds_max


@pytest.mark.parametrize("name", PENSTOCK)
def test_it_may_write_nothing_but_its_folder(name: str) -> None:
    service = PENSTOCK[name]

    assert service["read_only"]
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert "volumes" not in service or service["volumes"] == [
        f"{name}:{service['environment']['PENSTOCK_DATA']}"
    ]


def test_each_edge_has_a_folder_that_stays() -> None:
    edges = [name for name, service in SERVING.items() if "edge" in service["command"]]

    assert edges == ["edge-1", "edge-2"]
    assert all("volumes" in SERVING[name] for name in edges)


# -- Kafka ----------------------------------------------------------------------------------------


def test_brokers_are_one_cluster_of_three() -> None:
    environments = {name: broker["environment"] for name, broker in BROKERS.items()}
    voters = [f"{e['KAFKA_NODE_ID']}@{name}:9093" for name, e in environments.items()]

    assert len(BROKERS) == 3
    assert len({e["KAFKA_NODE_ID"] for e in environments.values()}) == 3
    for name, environment in environments.items():
        assert environment["KAFKA_CONTROLLER_QUORUM_VOTERS"] == ",".join(voters)
        assert environment["KAFKA_ADVERTISED_LISTENERS"] == f"PLAINTEXT://{name}:9092"
    own = {"KAFKA_NODE_ID", "KAFKA_ADVERTISED_LISTENERS"}
    shared = [{k: v for k, v in e.items() if k not in own} for e in environments.values()]
    assert shared == shared[:1] * 3


@pytest.mark.parametrize("name", BROKERS)
def test_a_broker_loses_nothing_that_was_acknowledged(name: str) -> None:
    environment = BROKERS[name]["environment"]

    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert environment["KAFKA_UNCLEAN_LEADER_ELECTION_ENABLE"] == "false"
    assert environment["KAFKA_MIN_INSYNC_REPLICAS"] == "2"
    assert int(environment["KAFKA_DEFAULT_REPLICATION_FACTOR"]) == Settings().kafka_replication == 3
    assert environment["KAFKA_LOG_FLUSH_INTERVAL_MESSAGES"] == "1"
    assert BROKERS[name]["volumes"] == [f"{name}:{environment['KAFKA_LOG_DIRS']}"]


# -- Valkey ---------------------------------------------------------------------------------------


def test_valkey_keeps_what_it_has_and_drops_no_key() -> None:
    command = SERVICES["valkey"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))

    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert "--maxmemory" in options
