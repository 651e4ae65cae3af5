from collections.abc import Iterator

import pytest

from apps.audiences.served import Served
from penstock.core import health
from support.clock import SteppingClock

BOUNDS = (
    "_PATIENCE_SECONDS",
    "_READY_SECONDS_MAX",
    "_METRICS_SECONDS_MAX",
    "_STAGES_SECONDS_MAX",
)
PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module", autouse=True)
def patient() -> Iterator[None]:
    """What an operator asks for is looked at then, and may take long: on a busy machine the answer
    would be that of a moment ago, or 503.
    """
    with pytest.MonkeyPatch.context() as patched:
        for name in BOUNDS:
            patched.setattr(health, name, PATIENCE_SECONDS)
        yield


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for a whole module, because opening the warehouse is dear and a process has one engine.

    Tests of a module share it in any order: each keeps to cookies and minutes of its own. The
    server's clock steps a day either way all the while: no answer may depend on it.
    """
    platform = Served(tmp_path_factory.mktemp("served"), clock=SteppingClock())
    yield platform
    platform.close()
