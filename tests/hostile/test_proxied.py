"""What is refused is passed on by a real proxy, which by default speaks HTTP/1.0 to us."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from e2e.process import Client, Server
from hostile.exchange import REPEATS, end, posted, settled
from hostile.table import TAG
from services import process
from services.ports import free_ports

MEGABYTES_5 = b" " * 5_000_000
CONFIGURATION = """
daemon off; master_process off; pid FOLDER/pid; error_log stderr notice;
events { worker_connections 64; }
http {
  access_log off; client_max_body_size 0; client_body_temp_path FOLDER/body;
  proxy_temp_path FOLDER/proxy; fastcgi_temp_path FOLDER/fastcgi;
  uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
  upstream penstock { server 127.0.0.1:UPSTREAM; keepalive 8; }
  server {
    listen 127.0.0.1:PORT;
    location / {
      proxy_pass http://penstock; proxy_http_version VERSION;
      proxy_set_header Connection ""; proxy_request_buffering BUFFERED;
    }
  }
}
"""
KINDS = [(version, buffered) for version in ("1.0", "1.1") for buffered in ("on", "off")]


@pytest.fixture(scope="module", params=KINDS, ids=["-".join(kind) for kind in KINDS])
def proxied(
    request: pytest.FixtureRequest,
    server: Server,
    nginx: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[int]:
    """The port of an nginx in front of the server."""
    folder = tmp_path_factory.mktemp("nginx")
    version, buffered = request.param
    (port,) = free_ports(1)
    text = CONFIGURATION
    for name, value in {
        "FOLDER": folder, "PORT": port, "UPSTREAM": server.port, "VERSION": version,
        "BUFFERED": buffered,
    }.items():  # fmt: skip
        text = text.replace(name, str(value))
    configuration = Path(folder / "nginx.conf")
    configuration.write_text(text)
    command = [nginx, "-p", str(folder), "-c", str(configuration)]
    running = process.Server(command, folder / "log", ready='using the "epoll" event method')
    with running:
        yield port


def test_who_posts_too_much_through_a_proxy_reads_its_413(proxied: int) -> None:
    for _ in range(REPEATS):
        assert posted(proxied, MEGABYTES_5) == 413


def test_what_is_sound_goes_through(proxied: int, client: Client) -> None:
    """Between those that are refused, on connections that the proxy keeps and does not keep. One
    that passes a body on as it comes hangs up on whoever was refused within it.
    """
    before = end(client)
    for _ in range(REPEATS):
        with closing(Client(proxied)) as through:
            assert through.post("/user_tags", TAG).status == 204
            assert through.get("/readyz").status == 200
            assert through.post("/user_tags", b" " * 70_000).status == 413
    assert settled(client) - before == REPEATS
