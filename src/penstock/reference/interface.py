"""What clients see: operations and errors."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from penstock.core import errors
from penstock.core.manifest import Manifest
from penstock.core.openapi import SCHEMAS, Document, document, words
from penstock.core.openapi.words import Call, Row
from penstock.core.pages import OFFERS
from penstock.reference.markdown import page, table


def http_page(manifests: Sequence[Manifest]) -> str:
    made = document(manifests, OFFERS)
    parts = [
        """
        A running server shows this page at `/docs`, and has it for programs at `/openapi.json`.
        """,
        *made["info"]["description"].split("\n\n"),
        """
        Whatever is refused is answered with the shape [`Refusal`](#refusal) and a code that
        [errors](errors.md) explains.
        """,
    ]
    for tag in made["tags"]:
        calls = list(words.calls(made, tag["name"]))
        parts += [f"## {tag['name']}", tag["description"], _overview(calls)]
        for call in calls:
            parts += _call(made, call)
    parts.append("## Shapes")
    for name, schema in made["components"]["schemas"].items():
        rows = words.fields(made, {"$ref": SCHEMAS + name})
        parts += [f"### `{name}`", schema.get("description", ""), _rows(rows)]
    return page("HTTP", parts)


def _overview(calls: Sequence[Call]) -> str:
    rows = [
        (
            f"`{call.method}`",
            f"`{call.path}`",
            f"`{call.operation['operationId']}`",
            f"{call.operation['x-body-bytes-max']:,} bytes",
            call.operation["summary"],
        )
        for call in calls
    ]
    return table(("method", "path", "operation", "largest body", "what it does"), rows)


def _call(made: Document, call: Call) -> Iterator[str]:
    operation = call.operation
    yield f"### `{call.method} {call.path}`"
    yield operation["summary"]
    if operation["parameters"]:
        yield "Parameters:"
        yield _rows(words.parameters(call))
    if "requestBody" in operation:
        yield from _body(made, operation["requestBody"])
    yield "Answers:"
    yield _answers(operation)
    yield "An example:"
    yield f"```bash\n{operation['x-codeSamples'][0]['source']}\n```"
    yield from _examples(operation)


def _body(made: Document, body: dict[str, Any]) -> Iterator[str]:
    media = ", ".join(f"`{media}`" for media in body["content"])
    schema = next(iter(body["content"].values()))["schema"]
    schema = schema.get("x-lines", schema)
    if body["required"]:
        yield f"The body, {media}: {body['description']}"
        yield _rows(words.fields(made, schema))
    else:
        shape = words.named(schema)
        yield (
            f"The body may be left out. Otherwise, {media}, of the shape "
            f"[`{shape}`](#{shape.lower()}): {body['description']}"
        )


def _answers(operation: dict[str, Any]) -> str:
    rows = []
    for status, answer in operation["responses"].items():
        if "x-errors" in answer:
            rows += [
                (status, f"`{code}`: {meaning}", "[`Refusal`](#refusal)")
                for code, meaning in answer["x-errors"].items()
            ]
        elif status != "default":
            rows.append((status, answer["description"], _shape(answer)))
    return table(("status", "meaning", "body"), rows)


def _shape(answer: dict[str, Any]) -> str:
    for media, content in answer.get("content", {}).items():
        shape = words.named(content["schema"])
        return f"[`{shape}`](#{shape.lower()})" if shape else f"`{media}`"
    return "none"


def _examples(operation: dict[str, Any]) -> Iterator[str]:
    """Letter by letter what the example is answered."""
    for answer in operation["responses"].values():
        for content in answer.get("content", {}).values():
            if "example" in content:
                yield f"```json\n{msgspec.json.encode(content['example']).decode()}\n```"


def _rows(rows: Iterable[Row]) -> str:
    told = [
        (f"`{row.name}`", row.takes, "yes" if row.required else "no", row.meaning) for row in rows
    ]
    return table(("name", "takes", "required", "meaning"), told) if told else ""


def errors_page(manifests: Sequence[Manifest]) -> str:
    classes = errors.catalogue()
    parts = [
        """
        After any error nothing of the request was stored.
        A 4xx says that the request has to change; only 408, 429 and 5xx are worth sending again.
        A 429, and a 503 to an event, says in `Retry-After` when.
        """,
        "## Core",
        table(
            ("status", "code", "meaning"),
            [
                (str(kind.status), f"`{kind.default_code}`", errors.meaning(kind))
                for kind in classes
            ],
        ),
    ]
    for manifest in manifests:
        rows = [
            (str(status), f"`{code}`", meaning)
            for code in manifest.errors
            for status, meaning in (manifest.error(code),)
        ]
        parts += [f"## {manifest.name}", table(("status", "code", "meaning"), rows)]
    return page("Errors", parts)
