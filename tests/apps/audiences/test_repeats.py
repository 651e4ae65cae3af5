"""Members given twice: found at any depth and in any spelling, at a cost in proportion (AU-23)."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.audiences.tags import a_tag, encoded, received
from apps.audiences.validity import tag_of
from penstock.apps.audiences import ingest
from penstock.apps.audiences.ingest import TAG_BYTES_MAX, record_batch, record_tag
from penstock.apps.audiences.settings import Settings
from penstock.core.edge.knowing import Knowledge
from penstock.core.errors import Rejected
from penstock.core.events import Event
from support.effort import cpu_seconds

ALWAYS = Knowledge(Settings(max_future_skew_hours=0.0), None)


def outcome(body: bytes) -> list[Event] | None:
    """None for a refusal."""
    try:
        return list(record_tag(received(body), ALWAYS).events)
    except Rejected:
        return None


def an_object(members: list[tuple[str, str]], space: str) -> str:
    inside = f",{space}".join(f"{name}{space}:{space}{value}" for name, value in members)
    return f"{{{space}{inside}}}"


spaces = st.sampled_from(["", "", " ", "\r \t"])
NAMES = ['"a"', '"b"', '"\\u0061"', '"é"', '"\\u00e9"', '"c,"', '"{"', '""']
QUOTED = ['"\\""', '"\\u0022"', '"\\\\"', '"\\u005c"', '"\\",\\""', '"},{"']
OTHERS = ["0", "-1.5e3", "1e400", "9" * 30, "null", "true", "[]", "{}"]
values = st.recursive(
    st.sampled_from(NAMES + QUOTED + OTHERS),
    lambda inner: (
        st.builds(
            lambda items, space: f"[{space}{f',{space}'.join(items)}]",
            st.lists(inner, max_size=4),
            spaces,
        )
        | st.builds(
            an_object,
            st.lists(st.tuples(st.sampled_from(NAMES + QUOTED), inner), max_size=4),
            spaces,
        )
    ),
    max_leaves=20,
)
extras = st.lists(
    st.tuples(st.sampled_from(['"x"', '"\\u0078"', '"y"', '"time "']), values), max_size=3
)


@settings(max_examples=150)
@given(outer=extras, inner=extras, space=spaces, first=st.booleans())
def test_au_23_a_member_given_twice_is_found_at_any_depth_and_nothing_else_is(
    outer: list[tuple[str, str]], inner: list[tuple[str, str]], space: str, *, first: bool
) -> None:
    """Against a reading of every single member."""

    def level(known: dict[str, object], unknown: list[tuple[str, str]]) -> str:
        members = [(json.dumps(name), json.dumps(value)) for name, value in known.items()]
        return an_object(unknown + members if first else members + unknown, space)

    tag = a_tag(product_info="product")
    body = level(tag, outer).replace('"product"', level(a_tag()["product_info"], inner)).encode()
    events = outcome(body)
    assert (events is None) is (tag_of(body) is None)
    assert record_batch(received(body), ALWAYS).events == (events or [])


@pytest.mark.parametrize(
    ("repeated", "where"),
    [
        ('"cookie":"z","cookie":', "the tag"),
        ('"x":1,"x":2,"cookie":', "the tag"),
        ('"x":{"y":1,"y":1},"cookie":', "what is inside an unknown member"),
    ],
)
def test_au_23_it_is_told_where_a_member_is_given_twice(repeated: str, where: str) -> None:
    body = encoded(a_tag()).decode().replace('"cookie":', repeated)
    with pytest.raises(Rejected, match=f"a member of {where} is given twice"):
        record_tag(received(body.encode()), ALWAYS)


def of_64_kib(*items: str) -> bytes:
    """A tag whose unknown member is an array of the first item again and again, and the others."""
    head = encoded(a_tag())[:-1].decode() + ',"x":['
    tail = "".join(f",{item}" for item in items[1:])
    count = (TAG_BYTES_MAX - len(head) - len(tail) - 2) // (len(items[0]) + 1)
    return f"{head}{','.join([items[0]] * count)}{tail}]}}".encode()


@pytest.mark.parametrize("item", ["{}", "[]", "0", '""', '{"":0}', '{"":{}}', '{"a":0}', "null"])
def test_au_23_what_cannot_name_a_member_twice_is_not_decoded(
    item: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Milliseconds for each tag of a batch, otherwise, and a batch of 11 KB may hold 63 such."""
    body = of_64_kib(item)
    with monkeypatch.context() as patched:
        patched.setattr(ingest, "_decode_any", pytest.fail)
        assert outcome(body) == outcome(encoded(a_tag()))
    assert outcome(of_64_kib(item, '{"a":0,"b":0}')) == outcome(body)
    assert outcome(of_64_kib(item, '{"a":0,"a":0}')) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "items",
    [
        *((item, '{"a":0,"b":0}') for item in ("{}", "[]", "0.5", '""', '{"":0}', '{"":{}}')),
        ("1.7976931348623157e-300", "{}"), ("9" * 4_000, '{"a":0,"b":0}'), ('{"":0,"a":0}',),
        ('"' + '\\"' * 32_500 + '"', '{"a":0,"b":0}'), ('"' + "\\u00e9" * 10_000 + '"', "{}"),
    ],
)  # fmt: skip
def test_no_tag_takes_longer_than_its_bytes_allow(items: tuple[str, ...]) -> None:
    """Reliability 42: ten times of what was measured, 50 nanoseconds a byte."""
    body = of_64_kib(*items)
    assert cpu_seconds(lambda: outcome(body)) < 10 * 50e-9 * TAG_BYTES_MAX
