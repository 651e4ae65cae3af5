"""What a scrape is told of the stores: a figure that cannot be had costs itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.core.errors import NotReady
from penstock.core.log.memory import MemoryLog
from penstock.core.meters import Meters
from penstock.core.state.rocksdb import RocksState
from penstock.core.telemetry import Samples
from support.clock import MovedClock
from support.logs import TOPIC, add
from support.stores import open_state, open_warehouse, stores

UNKNOWN = "tests.unknown"


class PartialLog(MemoryLog):
    """Knows nothing of one topic, as a log whose brokers have not said it yet."""

    def end(self, topic: str, partition: int) -> int:
        if topic == UNKNOWN:
            raise NotReady("the brokers did not say yet")
        return super().end(topic, partition)


class Rig:
    def __init__(self, folder: Path) -> None:
        self.clock = MovedClock()
        self.log = PartialLog(self.clock)
        self.state: RocksState = open_state(folder)
        self.warehouse = open_warehouse(folder)
        self.meters = Meters(
            folder,
            self.log,
            self.log,
            stores(self.warehouse, self.state, self.clock),
            topics=[UNKNOWN, TOPIC],
            consumers=[],
            clock=self.clock,
        )
        add(self.log, b"a", b"b")

    def sample(self) -> tuple[Samples, dict[tuple[str, ...], float]]:
        """What is sampled, and its values by name and labels."""
        samples = Samples()
        self.meters.sample(samples)
        return samples, {
            (sample.name, *sample.labels.values()): sample.value
            for family in samples.families.values()
            for sample in family.samples
        }

    def close(self) -> None:
        self.meters.sizes.close()
        self.warehouse.close()
        self.state.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def test_a_topic_that_is_unknown_yet_costs_what_is_asked_of_it(rig: Rig) -> None:
    rig.meters.sizes.start()
    samples, values = rig.sample()
    assert [what for what, _ in samples.failures] == [f"ends of {UNKNOWN}"]
    assert values["penstock_log_end_offset", TOPIC, "0"] == 2
    assert values["penstock_events_stored_total", TOPIC] == 2
    assert values["penstock_events_stored_total", UNKNOWN] == 0
    assert {name[1] for name in values if name[0] == "penstock_disk_bytes"} == {
        "log", "state", "warehouse",
    }  # fmt: skip


def test_a_store_that_cannot_be_measured_costs_its_size(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.state, "_path", rig.state._path / "CURRENT" / "\0")
    rig.meters.sizes.start()
    samples, values = rig.sample()
    assert isinstance(dict(samples.failures)["size of state"], ValueError)
    assert values["penstock_disk_bytes", "warehouse"] > 0
    assert values["penstock_disk_free_bytes",] > 0


def test_no_scrape_measures_and_a_size_of_long_ago_is_none(rig: Rig) -> None:
    rig.meters.sizes.start()
    _, values = rig.sample()
    size = values["penstock_disk_bytes", "state"]
    (rig.state._path / "more").write_bytes(bytes(100_000))
    rig.clock.seconds += 50
    assert rig.sample()[1]["penstock_disk_bytes", "state"] == size
    rig.clock.seconds += 20
    samples, values = rig.sample()
    assert ("penstock_disk_bytes", "state") not in values
    assert "70 seconds ago" in str(dict(samples.failures)["size of state"])
