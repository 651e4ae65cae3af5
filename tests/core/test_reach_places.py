"""Which URLs are read, and which addresses are anybody's. Reliability 25."""

from ipaddress import ip_address

import pytest

from penstock.core.errors import Misconfigured
from penstock.core.reach import OutOfBounds
from penstock.core.reach.places import Bounds, Target, read

INSIDE = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
    "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1",
    "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1",
    "239.1.1.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "100::1", "2001::1", "2001:10::1", "2001:db8::1",
    "2002:7f00:1::", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1",
    "fe80::1%eth0", "fec0::1", "ff02::1", "4000::1",
]  # fmt: skip
OUTSIDE = [
    "1.1.1.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "193.99.144.80",
    "2606:4700:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::808:808",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_what_is_not_everybodys_is_out_of_bounds(address: str) -> None:
    with pytest.raises(OutOfBounds, match="not public"):
        Bounds("", "80").check("a.example", ip_address(address))


@pytest.mark.parametrize("address", OUTSIDE)
def test_what_is_everybodys_may_be_reached(address: str) -> None:
    Bounds("", "80").check("a.example", ip_address(address))


@pytest.mark.parametrize(
    ("networks", "address", "opened"),
    [
        ("10.1.0.0/16", "10.1.255.1", True),
        ("10.1.0.0/16", "10.2.0.1", False),
        ("10.1.0.0/16", "::ffff:10.1.0.1", True),
        ("127.0.0.1, ::1", "::1", True),
        ("0.0.0.0/0, ::/0", "192.168.1.1", True),
        ("0.0.0.0/0, ::/0", "169.254.169.254", False),
        ("0.0.0.0/0, ::/0", "64:ff9b::a9fe:a9fe", False),
        ("100.64.0.0/10", "100.100.100.200", False),
        ("fd00::/8", "fd00:ec2::254", False),
        ("fd00:ec2::254", "fd00:ec2::254", True),
        ("169.254.10.0/24", "169.254.10.7", True),
    ],
)
def test_a_network_of_the_settings_opens_itself_but_the_clouds_secrets_only_by_name(
    networks: str, address: str, *, opened: bool
) -> None:
    bounds = Bounds(networks, "80")
    if opened:
        bounds.check("a.example", ip_address(address))
        return
    with pytest.raises(OutOfBounds):
        bounds.check("a.example", ip_address(address))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://a.example", Target("http", "a.example", 80, "/")),
        ("HTTPS://A.Example:8443/b?c=d#e", Target("https", "a.example", 8443, "/b?c=d")),
        ("https://a.example?c", Target("https", "a.example", 443, "/?c")),
        ("http://8.8.8.8/", Target("http", "8.8.8.8", 80, "/")),
        ("http://[2606:4700::1]:81/", Target("http", "2606:4700::1", 81, "/")),
        ("http://1.example/", Target("http", "1.example", 80, "/")),
    ],
)
def test_a_url_is_read(url: str, target: Target) -> None:
    assert read(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "", "a.example", "//a.example/", "ftp://a.example/", "file:///etc/passwd",
        "gopher://a.example/", "http:a.example", "http:///etc", "http://", "http://a@b.example/",
        "http://a:b@c.example/", "http://a.example:b@127.0.0.1/", "http://a.example\\@127.0.0.1/",
        "http://a.example /", " http://a.example/", "http://a.example/\r\nX: y", "http://a\tb/",
        "http://a.example/\u00e9", "http://\u24d0.example/", "http://a.example:/", "http://a:123456/",
        "http://127.1/", "http://2130706433/", "http://0x7f.0.0.1/", "http://0177.0.0.1/",
        "http://0x7f000001/", "http://1.2.3.4.5/", "http://127.0.0.01/", "http://127.0.0.1./",
        "http://[127.0.0.1]/", "http://[::1%25eth0]/", "http://[a.example]/", "http://[:::]/",
        "http://a.example/" + "x" * 9_000,
    ],
)  # fmt: skip
def test_what_another_reader_may_read_otherwise_is_no_url(url: str) -> None:
    with pytest.raises(OutOfBounds):
        read(url)


@pytest.mark.parametrize(("networks", "ports"), [("10.0.0.0/33", "80"), ("", "http"), ("x", "80")])
def test_settings_that_name_nothing_stop_the_start(networks: str, ports: str) -> None:
    with pytest.raises(Misconfigured, match="PENSTOCK_REACH_"):
        Bounds(networks, ports)


def test_only_the_ports_of_the_settings_are_asked() -> None:
    Bounds("", "80, 443").check_port(read("https://a.example/"))
    with pytest.raises(OutOfBounds, match="PENSTOCK_REACH_PORTS"):
        Bounds("", "80, 443").check_port(read("https://a.example:22/"))
