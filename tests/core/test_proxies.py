"""Who the client is: what proxies say of it is believed of those that are trusted, and no other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.edge import Received, Response
from penstock.core.edge.endpoints import AnswerEndpoint
from penstock.core.edge.proxies import Proxies
from penstock.core.errors import Misconfigured
from penstock.core.settings import Settings
from support.asking import Hosted, ask
from support.hosts import BODY_BYTES_MAX, Request, Rig

TRUSTED = "10.0.0.0/8, 127.0.0.1, 2001:db8:1::/48"
CLIENT, PROXY, NEARER_PROXY, STRANGER = "203.0.113.7", "10.1.2.3", "10.9.9.9", "198.51.100.1"


@pytest.mark.parametrize("setting", ["", " ", ",", " , "])
def test_without_a_trusted_proxy_the_peer_is_the_client(setting: str) -> None:
    proxies = Proxies(setting)
    assert not proxies
    assert proxies.client(PROXY, CLIENT.encode()) == PROXY


@pytest.mark.parametrize(
    ("peer", "header", "client"),
    [
        (PROXY, CLIENT, CLIENT),
        (PROXY, f"  {CLIENT}\t", CLIENT),
        (STRANGER, CLIENT, STRANGER),
        (STRANGER, f"{CLIENT}, {PROXY}", STRANGER),
        ("", CLIENT, ""),
        ("unix:", CLIENT, "unix:"),
        # several proxies: the nearest that is none of ours
        (NEARER_PROXY, f"{CLIENT}, {PROXY}", CLIENT),
        (NEARER_PROXY, f"{CLIENT},{PROXY},{PROXY}", CLIENT),
        (NEARER_PROXY, f"1.1.1.1, {CLIENT}, {PROXY}", CLIENT),
        (NEARER_PROXY, f"{PROXY}, {CLIENT}", CLIENT),
        (NEARER_PROXY, f"{STRANGER}, {PROXY}, {CLIENT}", CLIENT),
        # all of them ours: the farthest
        (NEARER_PROXY, PROXY, PROXY),
        (NEARER_PROXY, f"{PROXY}, 10.0.0.1", PROXY),
        # IPv6, and IPv4 as it looks from there
        ("2001:db8:1::2", "2001:db8:9::1", "2001:db8:9::1"),
        ("2001:db8:1::2", "2001:DB8:9:0::1", "2001:db8:9::1"),
        ("2001:db8:2::2", CLIENT, "2001:db8:2::2"),
        ("::ffff:10.1.2.3", CLIENT, CLIENT),
        (PROXY, f"{CLIENT}, ::ffff:10.0.0.1", CLIENT),
        (PROXY, f"::ffff:{CLIENT}", CLIENT),
        # what is no address ends the way
        (PROXY, "", PROXY),
        (PROXY, "unknown", PROXY),
        (PROXY, "_hidden", PROXY),
        (PROXY, f"{CLIENT}, unknown", PROXY),
        (PROXY, f"{CLIENT}, nonsense, {NEARER_PROXY}", NEARER_PROXY),
        (PROXY, f"{CLIENT},", PROXY),
        (PROXY, "203.0.113.7:4711", PROXY),
        (PROXY, "<script>", PROXY),
        (PROXY, "256.1.1.1", PROXY),
        (PROXY, "\xff\x00", PROXY),
    ],
)
def test_the_nearest_address_that_is_no_trusted_proxy_s_is_the_client_s(
    peer: str, header: str, client: str
) -> None:
    assert Proxies(TRUSTED).client(peer, header.encode("latin-1")) == client


def test_a_star_trusts_everyone_so_the_farthest_address_is_the_client_s() -> None:
    proxies = Proxies("*")
    assert proxies
    assert proxies.client(STRANGER, f"{CLIENT}, {PROXY}".encode()) == CLIENT
    assert proxies.client(STRANGER, f"nonsense, {CLIENT}".encode()) == CLIENT
    assert proxies.client("", CLIENT.encode()) == ""


@given(given_=st.binary(max_size=60), trusted=st.sampled_from([TRUSTED, "*", "0.0.0.0/0"]))
def test_what_a_stranger_writes_cannot_make_it_somebody_else(given_: bytes, trusted: str) -> None:
    """The proxy adds the stranger's address behind whatever the stranger wrote."""
    proxies = Proxies(trusted)
    header = given_ + b", " + STRANGER.encode()
    if trusted == TRUSTED:
        assert proxies.client(PROXY, header) == STRANGER
    else:
        assert proxies.client(PROXY, header)  # everyone is trusted, but nothing is raised


@given(st.binary(max_size=60))
def test_whatever_the_header_says_the_client_is_an_address(header: bytes) -> None:
    client = Proxies("*").client(PROXY, header)
    assert Proxies("0.0.0.0/0, ::/0").client(client, b"") == client
    assert client.replace(".", "").replace(":", "").partition("%")[0].isalnum()


@pytest.mark.parametrize("setting", ["proxy.internal", "10.0.0.0/33", "10.0.0.1;10.0.0.2", "*.*"])
def test_a_proxy_that_is_no_address_stops_the_start_and_names_the_setting(setting: str) -> None:
    with pytest.raises(Misconfigured, match="PENSTOCK_TRUSTED_PROXIES") as refusal:
        Rig(Settings(trusted_proxies=setting))
    assert "10.0.0.0/8" in str(refusal.value)


# -- through either host ------------------------------------------------------------------------


def client_of(hosted: Hosted, trusted: str, *headers: tuple[str, str]) -> str:
    rig = Rig(Settings(trusted_proxies=trusted))
    clients: list[str] = []

    async def who(received: Received) -> Response:
        clients.append(received.client)
        return Response.json({})

    endpoint = AnswerEndpoint(operation="tests.who", body_bytes_max=BODY_BYTES_MAX, answer=who)
    rig.edge.add("GET", "/who", endpoint)
    assert ask(hosted, rig, Request("GET", "/who", (), headers)).status == 200
    (client,) = clients
    return client


def test_a_request_s_client_is_the_one_its_trusted_proxy_names(hosted: Hosted) -> None:
    forwarded = ("X-Forwarded-For", f"{STRANGER}, {CLIENT}, {PROXY}")
    assert client_of(hosted, TRUSTED, forwarded) == CLIENT
    assert client_of(hosted, "127.0.0.0/8", forwarded) == PROXY
    assert client_of(hosted, "*", forwarded) == STRANGER


def test_a_request_s_client_is_its_peer_where_that_is_not_trusted(hosted: Hosted) -> None:
    forwarded = ("X-Forwarded-For", CLIENT)
    assert client_of(hosted, "", forwarded) == "127.0.0.1"
    assert client_of(hosted, "10.0.0.0/8", forwarded) == "127.0.0.1"
    assert client_of(hosted, TRUSTED) == "127.0.0.1"


def test_of_a_header_that_came_twice_the_nearest_proxy_s_is_believed(hosted: Hosted) -> None:
    """Some proxies add a line of their own to the one the client may have sent."""
    lines = (("X-Forwarded-For", STRANGER), ("X-Forwarded-For", CLIENT))
    assert client_of(hosted, TRUSTED, *lines) == CLIENT


def test_lines_of_several_proxies_are_one_list(hosted: Hosted) -> None:
    """The inner proxy is trusted and added the outer one's address on a line of its own."""
    lines = (("X-Forwarded-For", f"{STRANGER}, {CLIENT}"), ("X-Forwarded-For", PROXY))
    assert client_of(hosted, TRUSTED, *lines) == CLIENT
