"""ClickHouse and its Keeper find each other, and do not fill the disk with themselves."""

from xml.etree import ElementTree as ET

from deploy.stack import read, services, settings

SERVER = ET.fromstring(read("clickhouse/server.xml"))
KEEPER = ET.fromstring(read("clickhouse/keeper.xml"))
STACK = services()


def text(root: ET.Element, path: str) -> str:
    found = root.findtext(path)
    assert found is not None, path
    return found


def test_the_server_asks_the_keeper_where_it_listens() -> None:
    assert text(SERVER, "zookeeper/node/host") in STACK
    assert text(SERVER, "zookeeper/node/host") == text(
        KEEPER, "keeper_server/raft_configuration/server/hostname"
    )
    port = text(KEEPER, "keeper_server/tcp_port")
    assert text(SERVER, "zookeeper/node/port") == port
    assert f"/127.0.0.1/{port};" in STACK["keeper"]["healthcheck"]["test"][-1]


def test_the_keeper_is_one_of_its_own_quorum() -> None:
    servers = KEEPER.findall("keeper_server/raft_configuration/server")

    assert [text(server, "id") for server in servers] == [text(KEEPER, "keeper_server/server_id")]


def test_the_cluster_is_named_once_and_consists_of_the_server() -> None:
    [cluster] = list(SERVER.find("remote_servers") or [])
    [replica] = cluster.findall("shard/replica")

    asked = settings(STACK["migrate"]["environment"])
    assert cluster.tag == text(SERVER, "macros/cluster") == asked.warehouse_cluster
    assert asked.warehouse_replicated
    assert text(replica, "host") == text(SERVER, "macros/replica") == "clickhouse"
    assert text(SERVER, "interserver_http_host") == text(replica, "host")
    assert text(replica, "host") in STACK


def test_user_and_password_come_from_the_environment() -> None:
    given = STACK["clickhouse"]["environment"]
    asked = [
        element.attrib["from_env"] for element in SERVER.iter() if "from_env" in element.attrib
    ]

    assert asked == ["CLICKHOUSE_USER", "CLICKHOUSE_PASSWORD"]
    assert set(asked) <= set(given)
    credentials = f"//{given['CLICKHOUSE_USER']}:{given['CLICKHOUSE_PASSWORD']}@"
    place = f"{credentials}clickhouse:8123/{given['CLICKHOUSE_DB']}"
    assert STACK["api"]["environment"]["PENSTOCK_WAREHOUSE"] == f"clickhouse:{place}"


def test_its_tables_about_itself_are_off_or_forget() -> None:
    logs = [element for element in SERVER if element.tag.endswith("_log")]
    kept = [log for log in logs if "remove" not in log.attrib]

    assert {log.tag for log in logs} >= {"asynchronous_metric_log", "metric_log", "trace_log"}
    assert {log.tag for log in kept} == {"query_log", "part_log"}
    assert all("INTERVAL 7 DAY DELETE" in text(log, "ttl") for log in kept)


def test_log_files_are_bounded() -> None:
    for root in (SERVER, KEEPER):
        assert (text(root, "logger/size"), text(root, "logger/count")) == ("10M", "3")


def test_the_files_lie_where_the_images_look() -> None:
    assert STACK["clickhouse"]["volumes"][0] == (
        "./clickhouse/server.xml:/etc/clickhouse-server/config.d/penstock.xml:ro"
    )
    assert STACK["keeper"]["volumes"][0] == (
        "./clickhouse/keeper.xml:/etc/clickhouse-keeper/keeper_config.xml:ro"
    )
