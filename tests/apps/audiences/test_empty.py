import pytest

from apps.audiences.served import Served


@pytest.mark.parametrize("day", ["1066-10-14", "1969-12-30", "2022-03-01", "9999-12-31"])
def test_au_84_before_there_is_any_tag_every_range_is_true_zeros(served: Served, day: str) -> None:
    query = f"time_range={day}T00:00:00_{day}T00:01:00&action=BUY&aggregates=COUNT"
    assert served.rows(query) == [[f"{day}T00:00:00", "BUY", "0"]]
    range_of_day = f"time_range={day}T00:00:00_{day}T23:59:59.999"
    assert served.profile("c", range_of_day).json == {"cookie": "c", "views": [], "buys": []}
