"""A reading of JSON Schema that shares nothing with who wrote the schemas: what a value violates.

Of the standard as much as our documents use; a keyword that is not known here fails.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

Schema = dict[str, Any]

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,),
    "null": (type(None),), "array": (list,), "object": (dict,),
}  # fmt: skip
_SAYS_NOTHING = {"title", "description", "examples", "default", "format", "required", "x-lines"}


def violations(document: Any, schema: Schema, value: Any, at: str = "$") -> Iterator[str]:
    for keyword, bound in schema.items():
        if keyword in _SAYS_NOTHING:
            continue
        yield from _CHECKS[keyword](document, schema, bound, value, at)


def resolved(document: Any, reference: str) -> Any:
    """What a reference within the document leads to. Raise `KeyError` where that is nothing."""
    found = document
    for name in reference.removeprefix("#/").split("/"):
        found = found[name]
    return found


def _reference(document: Any, _: Schema, bound: str, value: Any, at: str) -> Iterator[str]:
    yield from violations(document, resolved(document, bound), value, at)


def _type(_: Any, __: Schema, bound: str, value: Any, at: str) -> Iterator[str]:
    right = isinstance(value, _TYPES[bound]) and (bound == "boolean") == isinstance(value, bool)
    if not right:
        yield f"{at}: {value!r} is no {bound}"


def _enum(_: Any, __: Schema, bound: list[Any], value: Any, at: str) -> Iterator[str]:
    if value not in bound:
        yield f"{at}: {value!r} is none of {bound}"


def _any_of(document: Any, _: Schema, bound: list[Schema], value: Any, at: str) -> Iterator[str]:
    if all(list(violations(document, variant, value, at)) for variant in bound):
        yield f"{at}: {value!r} is none of its variants"


def _items(document: Any, _: Schema, bound: Schema, value: Any, at: str) -> Iterator[str]:
    for index, item in enumerate(value if isinstance(value, list) else []):
        yield from violations(document, bound, item, f"{at}[{index}]")


def _properties(
    document: Any, schema: Schema, bound: dict[str, Schema], value: Any, at: str
) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{at}: has no {name}"
    for name, inner in bound.items():
        if name in value:
            yield from violations(document, inner, value[name], f"{at}.{name}")
    # Ours are read strictly: what is answered has to be told of.
    if "$ref" not in schema:
        yield from (f"{at}: nobody told of {name}" for name in value if name not in bound)


def _additional(document: Any, schema: Schema, bound: Schema, value: Any, at: str) -> Iterator[str]:
    for name, inner in value.items() if isinstance(value, dict) else ():
        if name not in schema.get("properties", {}):
            yield from violations(document, bound, inner, f"{at}.{name}")


def _minimum(_: Any, __: Schema, bound: float, value: Any, at: str) -> Iterator[str]:
    if isinstance(value, int | float) and value < bound:
        yield f"{at}: {value} is below {bound}"


def _maximum(_: Any, __: Schema, bound: float, value: Any, at: str) -> Iterator[str]:
    if isinstance(value, int | float) and value > bound:
        yield f"{at}: {value} is above {bound}"


def _shortest(_: Any, __: Schema, bound: int, value: Any, at: str) -> Iterator[str]:
    if isinstance(value, str | list) and len(value) < bound:
        yield f"{at}: is shorter than {bound}"


def _longest(_: Any, __: Schema, bound: int, value: Any, at: str) -> Iterator[str]:
    if isinstance(value, str | list) and len(value) > bound:
        yield f"{at}: is longer than {bound}"


def _pattern(_: Any, __: Schema, bound: str, value: Any, at: str) -> Iterator[str]:
    if isinstance(value, str) and not re.search(bound, value):
        yield f"{at}: {value!r} is not like {bound}"


_CHECKS: dict[str, Callable[[Any, Schema, Any, Any, str], Iterator[str]]] = {
    "$ref": _reference,
    "type": _type,
    "enum": _enum,
    "anyOf": _any_of,
    "items": _items,
    "properties": _properties,
    "additionalProperties": _additional,
    "minimum": _minimum,
    "maximum": _maximum,
    "minLength": _shortest,
    "maxLength": _longest,
    "minItems": _shortest,
    "maxItems": _longest,
    "pattern": _pattern,
}


def check(document: Any, schema: Schema, body: bytes) -> Any:
    """The JSON of a body that violates nothing."""
    value = json.loads(body)
    assert list(violations(document, schema, value)) == []
    return value
