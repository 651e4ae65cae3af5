import pytest

from support import hosts
from support.asking import Hosted


@pytest.fixture(params=[hosts.asgi, hosts.lane], ids=["asgi", "lane"])
def hosted(request: pytest.FixtureRequest) -> Hosted:
    """Either host of the edge: what is promised of one is promised of both."""
    found: Hosted = request.param
    return found


@pytest.fixture
def rig() -> hosts.Rig:
    return hosts.Rig()
