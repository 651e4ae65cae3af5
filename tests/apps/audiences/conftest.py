from collections.abc import Iterator

import pytest

from apps.audiences.served import Served
from support.clock import SteppingClock


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for a whole module, because opening the warehouse is dear and a process has one engine.

    Tests of a module share it in any order: each keeps to cookies and minutes of its own. The
    server's clock steps a day either way all the while: no answer may depend on it.
    """
    platform = Served(tmp_path_factory.mktemp("served"), clock=SteppingClock())
    yield platform
    platform.close()
