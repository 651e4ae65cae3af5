"""Who the client is: what proxies say of it is believed of those that are trusted, and no other."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.edge import Received, Response
from penstock.core.edge.endpoints import AnswerEndpoint
from penstock.core.edge.hosts import is_host
from penstock.core.edge.proxies import FORWARDED, FORWARDED_FOR, Proxies
from penstock.core.errors import Misconfigured
from penstock.core.settings import Settings
from support.asking import Hosted, ask
from support.effort import cpu_seconds
from support.hosts import BODY_BYTES_MAX, Request, Rig

TRUSTED = "10.0.0.0/8, 127.0.0.1, 2001:db8:1::/48"
CLIENT, PROXY, NEARER_PROXY, STRANGER = "203.0.113.7", "10.1.2.3", "10.9.9.9", "198.51.100.1"


@pytest.mark.parametrize("setting", ["", " ", ",", " , "])
def test_without_a_trusted_proxy_the_peer_is_the_client(setting: str) -> None:
    proxies = Proxies(setting)
    assert not proxies
    assert proxies.client(PROXY, {FORWARDED_FOR: CLIENT.encode()}) == PROXY


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
        (PROXY, "<script>", PROXY),
        (PROXY, "256.1.1.1", PROXY),
        (PROXY, "fe80::1%eth0", PROXY),
        (PROXY, f"{CLIENT}:https", PROXY),
        (PROXY, f"{CLIENT}:", PROXY),
        (PROXY, f"[{CLIENT}]:443", PROXY),
        (PROXY, "[2001:db8:9::1", PROXY),
        (PROXY, "[2001:db8:9::1]443", PROXY),
        (PROXY, f"{CLIENT}:" + "1" * 70, PROXY),
        # with a port
        (PROXY, f"{CLIENT}:4711", CLIENT),
        (PROXY, f"{CLIENT}:1, {NEARER_PROXY}:65535", CLIENT),
        (PROXY, "[2001:DB8:9::1]:443", "2001:db8:9::1"),
        (PROXY, "[2001:db8:9::1]", "2001:db8:9::1"),
        (PROXY, f"[::ffff:{CLIENT}]:443", CLIENT),
        (PROXY, "\xff\x00", PROXY),
    ],
)
def test_the_nearest_address_that_is_no_trusted_proxy_s_is_the_client_s(
    peer: str, header: str, client: str
) -> None:
    headers = {FORWARDED_FOR: header.encode("latin-1")}
    assert Proxies(TRUSTED).client(peer, headers) == client


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (f"for={CLIENT}", CLIENT),
        (f'For="{CLIENT}:4711"', CLIENT),
        (f"proto=http;FOR={CLIENT};by=203.0.113.43", CLIENT),
        (f"for={CLIENT} ; proto=https;", CLIENT),
        ('for="[2001:DB8:9::1]:4711"', "2001:db8:9::1"),
        ('for="[2001:db8:9::1]:_port"', "2001:db8:9::1"),
        (f'for="::ffff:{CLIENT}"', CLIENT),
        (f"for={CLIENT};by=_x, for={PROXY};host=example.org", CLIENT),
        (f"for={STRANGER},for={CLIENT},for=10.0.0.1 , for={PROXY}", CLIENT),
        (f'for={STRANGER}, for={CLIENT};host="a, for=1.1.1.1", for={PROXY}', CLIENT),
        (f'for={CLIENT};host="\\", for=1.1.1.1;x=\\"", for={PROXY}', CLIENT),
        (f'for={CLIENT};host="\\\\", for={PROXY};x=""', CLIENT),
        # what several proxies wrote, each on a line of its own
        (f"for={STRANGER}, for={CLIENT}, for={PROXY}", CLIENT),
        # leniently: it should have been quoted
        (f"for={CLIENT}:4711", CLIENT),
        ("for=[2001:db8:9::1]", "2001:db8:9::1"),
        # what names no address ends the way
        ("", PROXY),
        (" ", PROXY),
        ("for=unknown", PROXY),
        ("for=_hidden", PROXY),
        ('for="_hidden:80"', PROXY),
        (f"for={CLIENT}, proto=https", PROXY),
        (f"for={CLIENT}, for=unknown, for={NEARER_PROXY}", NEARER_PROXY),
        (f"for={CLIENT},", PROXY),
        (f"for={CLIENT};for={STRANGER}", PROXY),
        (f"for={CLIENT};FOR={CLIENT}", PROXY),
        (f'for="{CLIENT}', PROXY),
        (f'for={CLIENT}"', PROXY),
        (f'for="{CLIENT}"x', PROXY),
        (f"for = {CLIENT}", PROXY),
        (f"for={CLIENT} x", PROXY),
        (f"={CLIENT}", PROXY),
        (CLIENT, PROXY),
        (f"for={CLIENT}=", PROXY),
        (f'for="{CLIENT}\\"', PROXY),
    ],
)
def test_forwarded_is_read_as_its_standard_says(header: str, client: str) -> None:
    assert Proxies(TRUSTED).client(PROXY, {FORWARDED: header.encode()}) == client
    if client == PROXY:
        unreadable = {FORWARDED: f"{header}, for={NEARER_PROXY}".encode()}
        assert Proxies(TRUSTED).client(PROXY, unreadable) == NEARER_PROXY


@pytest.mark.parametrize(
    ("forwarded_for", "forwarded", "client"),
    [
        (CLIENT, f"for={CLIENT};proto=https", CLIENT),
        (f"{CLIENT}:80, {NEARER_PROXY}", f'for="{CLIENT}", for="{NEARER_PROXY}:443"', CLIENT),
        (f"{STRANGER}, {CLIENT}", f"for=1.1.1.1, for={CLIENT}", CLIENT),
        (f"::ffff:{CLIENT}", f"for={CLIENT}", CLIENT),
        # as far as both agree
        (STRANGER, f"for={CLIENT}", PROXY),
        (f"{STRANGER}, {NEARER_PROXY}", f"for={CLIENT}, for={NEARER_PROXY}", NEARER_PROXY),
        (CLIENT, "for=unknown", PROXY),
        (CLIENT, "nonsense", PROXY),
        ("unknown", f"for={CLIENT}", PROXY),
        # the outer proxy writes one, the inner one both
        (f"{CLIENT}, {NEARER_PROXY}", f"for={NEARER_PROXY}", CLIENT),
        (NEARER_PROXY, f"for={CLIENT}, for={NEARER_PROXY}", CLIENT),
        # an empty one is none
        (CLIENT, "", CLIENT),
        ("", f"for={CLIENT}", CLIENT),
    ],
)
def test_where_there_are_both_headers_the_way_is_known_as_far_as_they_agree(
    forwarded_for: str, forwarded: str, client: str
) -> None:
    headers = {FORWARDED_FOR: forwarded_for.encode(), FORWARDED: forwarded.encode()}
    assert Proxies(TRUSTED).client(PROXY, headers) == client


def test_a_way_has_at_most_thirty_two_proxies() -> None:
    """More than there ever are, and each of them costs a few microseconds."""
    for star in ("*", "10.0.0.0/8"):
        for name, hop in ((FORWARDED_FOR, "10.0.0.{}"), (FORWARDED, "for=10.0.0.{}")):
            header = ", ".join(hop.format(n % 256) for n in range(2_000, 0, -1)).encode()
            assert Proxies(star).client(PROXY, {name: header}) == "10.0.0.32"


@pytest.mark.parametrize(
    "piece", [b" ", b";", b",", b'"', b'\\"', b"a=b;", b"x=", b":", b"1", b'"x']
)
@pytest.mark.parametrize("name", [FORWARDED_FOR, FORWARDED])
@pytest.mark.parametrize("around", [b"", b'"', b"x"])
@pytest.mark.slow
def test_a_header_costs_in_proportion_to_its_size(name: bytes, piece: bytes, around: bytes) -> None:
    """Ten times of what was measured, 15 nanoseconds a byte."""
    proxies = Proxies("*")
    header = around + piece * (262_144 // len(piece)) + around
    seconds = cpu_seconds(lambda: proxies.client(PROXY, {name: header}))
    assert seconds < 10 * 15e-9 * 262_144


def test_a_star_trusts_everyone_so_the_farthest_address_is_the_client_s() -> None:
    proxies = Proxies("*")
    assert proxies
    assert proxies.client(STRANGER, {FORWARDED_FOR: f"{CLIENT}, {PROXY}".encode()}) == CLIENT
    assert proxies.client(STRANGER, {FORWARDED_FOR: f"nonsense, {CLIENT}".encode()}) == CLIENT
    assert proxies.client(STRANGER, {FORWARDED: f"for={CLIENT}, for={PROXY}".encode()}) == CLIENT
    assert proxies.client("", {FORWARDED_FOR: CLIENT.encode()}) == ""


anything = st.binary(max_size=60) | st.text('for=";, \\\\[]:_1.', max_size=40).map(str.encode)
added = st.sampled_from(
    [
        (FORWARDED_FOR, b", 198.51.100.1"), (FORWARDED_FOR, b",198.51.100.1:99"),
        (FORWARDED, b", for=198.51.100.1"), (FORWARDED, b',for="198.51.100.1:99";proto=http'),
        (FORWARDED, b', by="\\";";For="[::ffff:198.51.100.1]"'),
    ]
)  # fmt: skip


@settings(max_examples=100)
@given(before=anything, added=added, other=anything, trusted=st.sampled_from([TRUSTED, "*"]))
def test_what_a_stranger_writes_cannot_make_it_somebody_else(
    before: bytes, added: tuple[bytes, bytes], other: bytes, trusted: str
) -> None:
    """The proxy adds the stranger's address behind whatever the stranger wrote."""
    proxies = Proxies(trusted)
    name, written = added
    both = {FORWARDED_FOR: other, FORWARDED: other, name: before + written}
    if trusted == TRUSTED:
        assert proxies.client(PROXY, {name: before + written}) == STRANGER
        assert proxies.client(PROXY, both) in (STRANGER, PROXY)
    else:
        assert proxies.client(PROXY, both)  # everyone is trusted, but nothing is raised


tokens = st.text("abcxyz0189-._~!#$%&'*+^`|", min_size=1, max_size=5)
quoted = st.text('ab ,;=[]:.\\"', max_size=6).map(
    lambda text: '"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"'))
)
others = st.dictionaries(
    st.sampled_from(["by", "Host", "PROTO", "x-y"]), tokens | quoted, max_size=3
).map(lambda pairs: [f"{name}={value}" for name, value in pairs.items()])


@settings(max_examples=100)
@given(data=st.data())
def test_every_well_formed_element_is_read(data: st.DataObject) -> None:
    hops = data.draw(st.lists(st.sampled_from([PROXY, NEARER_PROXY]), max_size=3))
    elements = []
    for hop in [CLIENT, *hops]:
        spelled = data.draw(st.sampled_from([hop, f'"{hop}"', f'"{hop}:80"', f'"[::ffff:{hop}]"']))
        node = f"{data.draw(st.sampled_from(['for', 'For', 'FOR']))}={spelled}"
        elements.append(";".join(data.draw(st.permutations([node, *data.draw(others)]))))
    header = data.draw(st.sampled_from([",", ", ", " ,\t"])).join(elements)
    assert Proxies(TRUSTED).client(PROXY, {FORWARDED: header.encode()}) == CLIENT


@given(header=anything, other=anything)
def test_whatever_the_headers_say_the_client_is_an_address(header: bytes, other: bytes) -> None:
    client = Proxies("*").client(PROXY, {FORWARDED_FOR: header, FORWARDED: other})
    assert Proxies("0.0.0.0/0, ::/0").client(client, {}) == client
    assert set(client) <= set("0123456789abcdef.:")


@pytest.mark.parametrize("setting", ["proxy.internal", "10.0.0.0/33", "10.0.0.1;10.0.0.2", "*.*"])
def test_a_proxy_that_is_no_address_stops_the_start_and_names_the_setting(setting: str) -> None:
    with pytest.raises(Misconfigured, match="PENSTOCK_TRUSTED_PROXIES") as refusal:
        Rig(Settings(trusted_proxies=setting))
    assert "10.0.0.0/8" in str(refusal.value)


# -- through the edge ---------------------------------------------------------------------------


def received_by(rig: Rig, hosted: Hosted, *headers: tuple[str, str]) -> Received:
    asked: list[Received] = []

    async def who(received: Received) -> Response:
        asked.append(received)
        return Response.json({})

    endpoint = AnswerEndpoint(operation="tests.who", body_bytes_max=BODY_BYTES_MAX, answer=who)
    rig.edge.add("GET", "/who", endpoint)
    assert ask(hosted, rig, Request("GET", "/who", (), headers)).status == 200
    (received,) = asked
    return received


def client_of(hosted: Hosted, trusted: str, *headers: tuple[str, str]) -> str:
    return received_by(Rig(Settings(trusted_proxies=trusted)), hosted, *headers).client


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


@pytest.mark.parametrize(
    ("headers", "host", "secure"),
    [
        ({}, "tests", False),
        ({"X-Forwarded-Host": "Shop.Example:443"}, "shop.example", False),
        ({"X-Forwarded-Proto": "https"}, "tests", True),
        ({"X-Forwarded-Host": "evil.example, shop.example"}, "shop.example", False),
        ({"X-Forwarded-Proto": "https, http"}, "tests", False),
        ({"Forwarded": 'host=evil.example, for=1.2.3.4;HOST="shop.example:80";proto=https'},
         "shop.example", True),
        ({"Forwarded": "host=shop.example;proto=https", "X-Forwarded-Host": "shop.example"},
         "shop.example", True),
        ({"Forwarded": "host=evil.example", "X-Forwarded-Host": "shop.example"}, "tests", False),
        ({"Forwarded": "proto=https", "X-Forwarded-Proto": "http"}, "tests", False),
        ({"Forwarded": "host=a;host=b"}, "tests", False),
        ({"X-Forwarded-Host": "a;domain=evil.example"}, "tests", False),
        ({"X-Forwarded-Host": "a" * 300}, "tests", False),
        ({"X-Forwarded-Host": "[::1]:80"}, "[::1]", False),
    ],
)  # fmt: skip
def test_what_was_asked_for_is_what_a_trusted_proxy_says_and_nobody_else(
    hosted: Hosted, headers: dict[str, str], host: str, secure: bool
) -> None:
    for trusted, told in (("127.0.0.1", (host, secure)), ("", ("tests", False))):
        rig = Rig(Settings(trusted_proxies=trusted))
        received = received_by(rig, hosted, *headers.items())
        assert (received.host, received.secure) == told


def test_heads_of_trusted_proxies_and_of_others_are_remembered_apart(hosted: Hosted) -> None:
    """The same bytes mean another host when somebody else sends them."""
    rig = Rig(Settings(trusted_proxies="127.0.0.1"))
    request = (("X-Forwarded-Host", "shop.example"),)
    assert received_by(rig, hosted, *request).host == "shop.example"
    assert len(rig.edge.relayed._known) == 1
    assert not rig.edge.heads._known
    assert rig.edge.heads_of("192.0.2.1") is rig.edge.heads


@given(header=anything, other=anything)
def test_whatever_the_headers_say_the_host_is_one(header: bytes, other: bytes) -> None:
    asked = Proxies.asked({FORWARDED: header, b"x-forwarded-host": other})
    assert not is_host(asked.host) or asked.host.isascii()
