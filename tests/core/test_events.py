"""Events in every form that a log may have them in, and bytes that are no event."""

import subprocess
import sys
from typing import Any, Literal, get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.core.events import Codec, Event, Format, Undecodable
from penstock.core.projection import Done, Topic
from penstock.core.projects import DEFAULT_PROJECT

FORMS: tuple[Format, ...] = get_args(Format)


class Counted(Event, frozen=True, array_like=True, gc=False, tag="counted/1"):
    number: int
    name: str
    either: int | str
    raw: bytes = b""
    maybe: float | None = None
    sure: bool = True
    words: list[str] = msgspec.field(default_factory=list)
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    kind: Literal["a", "b"] = "a"


class Named(Event, frozen=True, array_like=True, gc=False, tag="named/1"):
    name: str | None = None


class CountedBefore(Event, frozen=True, array_like=True, gc=False, tag="counted/1"):
    """`counted/1` as an older version of the code had it."""

    number: int
    name: str
    either: int | str


TYPES: tuple[type[Event], ...] = (Counted, Named)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LONG = st.integers(-(2**63), 2**63 - 1)
EVENTS = st.one_of(
    st.builds(
        Counted,
        LONG,
        TEXT,
        LONG | TEXT,
        st.binary(),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
        st.lists(TEXT, max_size=3),
        st.dictionaries(TEXT, LONG, max_size=3),
        st.sampled_from(["a", "b"]),
    ),
    st.builds(Named, st.none() | TEXT),
)
PROJECTS = st.just(DEFAULT_PROJECT) | st.text("abc-9", min_size=1, max_size=9)
EXAMPLE = Counted(7, "seven", "7", b"\x07", 0.5)


class Registry:
    """Numbers schemas as a registry does: by what they say, from any number on."""

    def __init__(self) -> None:
        self.known: dict[int, str] = {}

    def number(self, schema: str) -> int:
        for number, known in self.known.items():
            if known == schema:
                return number
        number = 100_001 + len(self.known)
        self.known[number] = schema
        return number

    def schema(self, number: int) -> str:
        return self.known[number]


CODECS = [*(Codec(TYPES, form) for form in FORMS), Codec(TYPES, "avro", schemas=Registry())]


@given(EVENTS, PROJECTS)
def test_a_record_is_the_same_again_in_every_form(event: Event, project: str) -> None:
    for codec in CODECS:
        assert codec.read(codec.of(project)(event)) == (project, event)


@given(EVENTS, PROJECTS)
def test_every_codec_reads_what_any_other_wrote(event: Event, project: str) -> None:
    for writer in CODECS[:3]:
        for reader in CODECS[:3]:
            assert reader.read(writer.of(project)(event)) == (project, event)


@given(st.lists(st.tuples(PROJECTS, EVENTS), max_size=5))
def test_many_records_are_read_as_each_alone(records: list[tuple[str, Event]]) -> None:
    for codec in CODECS:
        projects, events = codec.read_all([codec.of(whose)(event) for whose, event in records])
        assert list(zip(projects, events, strict=True)) == records


OLDER = (
    b"\x92\xa7named/1\xa5seven",
    b'{"type":"named/1","name":"seven"}',
    b"\x00m\xa0\x0e\xd0\x02\nseven",
)
"""What the version before projects made of `Named("seven")` in each form."""


def test_what_is_older_than_projects_belongs_to_the_default_one() -> None:
    for codec in CODECS[:3]:
        for payload in OLDER:
            assert codec.read(payload) == (DEFAULT_PROJECT, Named("seven"))


def test_the_default_project_is_not_written() -> None:
    for codec, payload in zip(CODECS[:2], OLDER, strict=False):
        assert codec.encode(Named("seven")) == codec.of(DEFAULT_PROJECT)(Named("seven")) == payload


def test_a_project_is_the_key_of_an_array_or_a_member_of_an_object() -> None:
    array, object_ = (codec.of("acme")(Named("seven")) for codec in CODECS[:2])
    assert msgspec.msgpack.decode(array) == {"acme": ["named/1", "seven"]}
    assert object_ == b'{"type":"named/1","name":"seven","project":"acme"}'


def test_an_event_has_no_project_of_its_own() -> None:
    class Mine(Event, frozen=True, array_like=True, gc=False, tag="mine/1"):
        project: str

    with pytest.raises(ValueError, match="Mine: a project is the record's"):
        Topic("tests.mine", (Mine,))


def test_an_event_has_a_tag_and_no_two_of_a_topic_the_same() -> None:
    class Plain(Event, frozen=True, array_like=True, gc=False):
        pass

    class One(Event, frozen=True, array_like=True, gc=False, tag="one/1"):
        pass

    class Other(Event, frozen=True, array_like=True, gc=False, tag="one/1"):
        pass

    for events in ((Plain,), (One, Plain)):
        with pytest.raises(ValueError, match=r'tests.mine: Plain has no .* tag="confirmed/1"'):
            Topic("tests.mine", events)
    with pytest.raises(ValueError, match='One and Other both have tag="one/1"'):
        Topic("tests.mine", (One, Other))


def test_avro_is_framed_with_the_number_that_the_registry_gave() -> None:
    registry = Registry()
    written = Codec((Named,), "avro", schemas=registry).encode(Named("seven"))
    assert written == b"\x00" + (100_001).to_bytes(4, "big") + b"\x02" + b"\x0aseven" + b"\x00"


@pytest.mark.parametrize("form", FORMS)
def test_a_record_of_an_older_version_has_the_defaults_of_the_new_one(form: Format) -> None:
    older = Codec((CountedBefore,), form).encode(CountedBefore(1, "one", 1))
    assert Codec(TYPES, form).decode(older) == Counted(1, "one", 1)


def test_a_registry_s_older_schema_is_asked_for_by_its_number() -> None:
    registry = Registry()
    older = Codec((CountedBefore,), "avro", schemas=registry)
    newer = Codec(TYPES, "avro", schemas=registry)
    assert newer.decode(older.encode(CountedBefore(1, "one", 1))) == Counted(1, "one", 1)
    assert len(registry.known) == 2


@given(st.binary(max_size=200), st.sampled_from([b"", b"{", b"\x00", b"\x9a", b"\xdc", b"\xdd"]))
@example(b"", b"")
@example(b"9" * 5_000, b'{"type":"counted/1","number":')
@example(b"\x00\x00\x00\x00", b"\x00")
def test_bytes_that_are_no_event_are_undecodable(junk: bytes, first: bytes) -> None:
    for codec in CODECS:
        with pytest.raises(Undecodable):
            codec.decode(first + junk)


@given(EVENTS, st.data())
def test_a_damaged_record_is_undecodable_or_another_event(event: Event, data: Any) -> None:
    for codec in CODECS:
        whole = codec.encode(event)
        at = data.draw(st.integers(0, len(whole) - 1))
        damaged = [
            whole[:at],
            whole[:at] + bytes([whole[at] ^ 0x80]) + whole[at + 1 :],
            whole + b"!",
        ]
        for payload in damaged:
            try:
                assert isinstance(codec.decode(payload), TYPES)
            except Undecodable:
                continue


def test_records_without_avro_take_no_avro() -> None:
    """Who writes arrays or objects need not have fastavro, until a record needs it."""
    script = """
import sys
sys.modules["fastavro"] = None
from penstock.core.events import Codec, Event, Undecodable

class Named(Event, frozen=True, array_like=True, gc=False, tag="named/1"):
    name: str

codec = Codec((Named,), "json")
assert codec.decode(codec.encode(Named("seven"))) == Named("seven")
try:
    codec.decode(bytes(12))
except Undecodable as error:
    assert "pip install" in str(error), error
else:
    raise AssertionError("decoded")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("form", FORMS)
def test_the_end_of_a_job_has_what_it_returned_in_every_form(form: Format) -> None:
    """Also where it is of a version that returned nothing in it: an array that may be empty."""
    codec = Codec((Done,), form)
    for returned in ((), (b"", b"\x00\xff")):
        done = Done(b"key", "name", 1, 2, "job", 3, 4, returned, returned)
        assert codec.read(codec.of("acme")(done)) == ("acme", done)
