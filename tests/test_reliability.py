"""Every fault that is said to be survived is injected by a test that is there."""

from pathlib import Path

from support import reliability

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"


def test_every_fault_has_a_test_and_no_test_names_another() -> None:
    assert list(reliability.tests()) == list(reliability.ROWS)


def test_the_page_names_the_tests_that_there_are() -> None:
    assert PAGE.read_text() == reliability.page(), "run `make docs`"
