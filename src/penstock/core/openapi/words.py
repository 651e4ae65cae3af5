"""The document in words, for whoever shows it: what a schema takes, and its fields as rows.

Code stands between backticks, as in Markdown.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from penstock.core.openapi import SCHEMAS, Document, Schema

_PLAIN = {
    "string": "text",
    "boolean": "`true` or `false`",
    "null": "`null`",
    "number": "number",
    "integer": "whole number",
    "object": "object",
}


class Row(NamedTuple):
    """A field or parameter."""

    name: str
    takes: str
    required: bool
    meaning: str


class Call(NamedTuple):
    """An operation of the document."""

    method: str
    path: str
    operation: dict[str, Any]


def calls(document: Document, tag: str) -> Iterator[Call]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                yield Call(method.upper(), path, operation)


def parameters(call: Call) -> Iterator[Row]:
    for parameter in call.operation["parameters"]:
        schema = parameter["schema"]
        meaning = parameter["description"]
        if (default := schema.get("default")) is not None:
            meaning += f" Default: `{default}`."
        where = f"{parameter['in']}; {takes(schema)}"
        yield Row(parameter["name"], where, parameter["required"], meaning)


def named(schema: Schema) -> str:
    """Of the component that it refers to; nothing where it says itself what it is."""
    return str(schema.get("$ref", "")).removeprefix(SCHEMAS)


def fields(document: Document, schema: Schema, before: str = "") -> Iterator[Row]:
    """Those of an object, the ones of objects inside it with dots between."""
    if name := named(schema):
        schema = document["components"]["schemas"][name]
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        if inside := named(field):
            field = document["components"]["schemas"][inside]  # noqa: PLW2901 - what it refers to
        if "properties" in field:
            yield from fields(document, field, f"{before}{name}.")
        else:
            meaning = field.get("description", "")
            yield Row(f"{before}{name}", takes(field), name in required, meaning)


def spelled(example: Any) -> str:
    """JSON on one line, with blanks at which it may be broken."""
    return msgspec.json.format(msgspec.json.encode(example), indent=0).decode()


def takes(schema: Schema) -> str:
    """What values are right."""
    if name := named(schema):
        return f"`{name}`"
    if choices := schema.get("enum"):
        return _listed([f"`{choice}`" for choice in choices])
    if variants := schema.get("anyOf"):
        return _listed([takes(variant) for variant in variants])
    kind = schema.get("type", "")
    if kind == "array":
        most = f", at most {schema['maxItems']:,}" if "maxItems" in schema else ""
        return f"list of {takes(schema.get('items', {}))}{most}"
    if kind == "object" and isinstance(inner := schema.get("additionalProperties"), dict):
        return f"object of {takes(inner)} by name"
    return _bounded(_PLAIN.get(kind, "anything"), schema)


def _bounded(word: str, schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{word} from {low:,} to {high:,}"
    if low is not None:
        return f"{word} from {low:,} on"
    short, long = schema.get("minLength"), schema.get("maxLength")
    if long is not None:
        return f"{word} of {short or 0} to {long:,} characters"
    if pattern := schema.get("pattern"):
        return f"{word} like `{schema['examples'][0] if schema.get('examples') else pattern}`"
    return word


def _listed(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
