"""Errors: one class per status, each with a code, a message and a place in the answer."""

import pytest

from penstock.core import errors
from penstock.core.errors import (
    MethodNotAllowed,
    NotReady,
    Overloaded,
    PenstockError,
    Rejected,
    told,
    told_of,
)

ANSWERED = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type)
    and issubclass(kind, PenstockError)
    and kind not in (PenstockError, MethodNotAllowed, errors.Misconfigured)
]


@pytest.mark.parametrize("kind", ANSWERED, ids=lambda kind: kind.__name__)
def test_an_error_without_words_of_its_own_says_what_its_class_says(
    kind: type[PenstockError],
) -> None:
    error = kind()
    assert str(error) == (kind.__doc__ or "").splitlines()[0]
    assert str(error)[-1] in ".;"
    assert 400 <= error.status < 600
    assert error.code == kind.default_code


def test_a_message_and_a_code_may_be_more_precise() -> None:
    error = Rejected("the price is no number", code="bad_field")
    assert (str(error), error.code, error.status) == ("the price is no number", "bad_field", 400)


@pytest.mark.parametrize("kind", [Overloaded, NotReady])
def test_what_passes_says_when_to_try_again(kind: type[PenstockError]) -> None:
    assert kind().status == 503
    assert kind().retry_after > 0
    assert Rejected().retry_after == 0


@pytest.mark.parametrize("given", ["half \udcff", "\ud83d", "sound \U0001f600"])
def test_whatever_words_are_made_of_they_can_be_written_down(given: str) -> None:
    told = told_of(ValueError(given))
    assert told.encode().decode() == told
    error = PenstockError(given, code=given, detail=given)
    for text in (error.message, error.code, str(error)):
        text.encode()


def test_what_cannot_tell_itself_is_told_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise self

    assert told_of(Mute()) == "Mute: it has no words"


def test_a_wrong_method_names_the_right_ones() -> None:
    error = MethodNotAllowed(("GET", "POST"))
    assert error.allowed == ("GET", "POST")
    assert "GET, POST" in str(error)


def test_what_fails_inside_says_nothing_of_itself() -> None:
    assert (PenstockError().status, PenstockError().code) == (500, "internal")


def test_a_detail_is_for_those_who_read_lines_and_for_nobody_else() -> None:
    error = NotReady("writing the state", detail="/a/folder: IO error")
    assert str(error) == "writing the state: /a/folder: IO error"
    assert told(error) == error.message == "writing the state"
    assert str(NotReady(detail="why")) == f"{NotReady()}: why"
    assert told(OSError(2, "No such file", "/a/folder")) == "FileNotFoundError"
