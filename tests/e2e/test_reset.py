"""The admin listener forgets everything, and only it can."""

from http.client import HTTPConnection

from e2e.conftest import Serve
from e2e.process import PATIENCE_SECONDS
from services.ports import free_ports

TAG = (
    b'{"time":"2022-03-01T00:00:00.649Z","cookie":"reset","country":"PL","device":"PC",'
    b'"action":"VIEW","origin":"O","product_info":{"product_id":1,"brand_id":"B",'
    b'"category_id":"C","price":1}}'
)
PROFILE = "/user_profiles/reset?time_range=2022-03-01T00:00:00_2022-03-02T00:00:00"


def reset(port: int) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    connection.request("POST", "/admin/reset")
    status = connection.getresponse().status
    connection.close()
    return status


def test_au_113_a_reset_forgets_every_tag_and_the_next_one_is_the_first(serve: Serve) -> None:
    (admin_port,) = free_ports(1)
    server = serve(admin_port=str(admin_port))
    client = server.client()
    client.post("/user_tags", TAG)
    assert len(client.post(PROFILE).json["views"]) == 1

    assert client.post("/admin/reset").status == 404
    assert reset(admin_port) == 204

    assert client.post(PROFILE).json["views"] == []
    client.post("/user_tags", TAG)
    assert len(client.post(PROFILE).json["views"]) == 1
    assert client.get("/api/pipeline").json["topics"][0]["end"] == 1
