import pytest

from support import hosts
from support.asking import Hosted


@pytest.fixture
def hosted() -> Hosted:
    return hosts.hosted


@pytest.fixture
def rig() -> hosts.Rig:
    return hosts.Rig()
