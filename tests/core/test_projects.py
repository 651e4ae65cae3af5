"""Names and keys of projects: no two of them ever meet, and the default one's are as of old."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.projects import DEFAULT_PROJECT, key_of, name_of, order_of

PROJECTS = st.just(DEFAULT_PROJECT) | st.text("abc-", min_size=1, max_size=3)
NAMES = st.text("abc-\x1f", max_size=9) | st.builds(name_of, PROJECTS, st.text("ab\x1f"))
KEYS = st.binary(max_size=9) | st.builds(key_of, PROJECTS, st.sampled_from([b"", b"a", b"\xff"]))


@given(one=st.tuples(PROJECTS, NAMES), other=st.tuples(PROJECTS, NAMES))
def test_names_of_different_projects_differ(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (name_of(*one) == name_of(*other)) is (one == other)


@given(one=st.tuples(PROJECTS, KEYS), other=st.tuples(PROJECTS, KEYS))
def test_keys_of_different_projects_differ(
    one: tuple[str, bytes], other: tuple[str, bytes]
) -> None:
    assert (key_of(*one) == key_of(*other)) is (one == other)


@given(project=PROJECTS, text=st.text())
def test_what_is_text_is_as_of_old_in_the_default_project(project: str, text: str) -> None:
    assert key_of(DEFAULT_PROJECT, text.encode()) == text.encode()
    assert order_of(project, b"") == b""
