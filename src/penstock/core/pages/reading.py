"""The page that shows the document: made once, of nothing but the document."""

import re
from collections.abc import Iterable, Iterator
from html import escape
from typing import Any

from penstock.core.openapi import SCHEMAS, Document, Schema, words
from penstock.core.openapi.words import Call, Row
from penstock.core.pages.markup import block, command, framed, prose

_CODE = re.compile(r"<code>(\w+)</code>")


def page(document: Document) -> str:
    sections = "".join(_section(document, tag) for tag in document["tags"])
    shapes = "".join(_shape(document, name) for name in document["components"]["schemas"])
    about = "".join(
        f"<p>{prose(paragraph)}</p>" for paragraph in document["info"]["description"].split("\n\n")
    )
    return framed(
        "HTTP",
        "/docs",
        f"""<div class="docs">
<nav class="contents" aria-label="Contents">{_contents(document)}</nav>
<main id="main" class="stack">
<h1>HTTP</h1>
<div class="aside part">{about}</div>
{sections}
<section id="shapes" class="stack"><h2>Shapes</h2>{shapes}</section>
</main>
</div>""",
    )


def _contents(document: Document) -> str:
    parts = []
    for tag in document["tags"]:
        links = "".join(
            f'<li><a href="#{call.operation["operationId"]}">{escape(call.path)}</a></li>'
            for call in words.calls(document, tag["name"])
        )
        parts.append(f"<h2>{escape(tag['name'])}</h2><ul>{links}</ul>")
    return "".join(parts) + '<h2>shapes</h2><ul><li><a href="#shapes">All of them</a></li></ul>'


def _section(document: Document, tag: dict[str, str]) -> str:
    calls = "".join(_call(document, call) for call in words.calls(document, tag["name"]))
    name = escape(tag["name"])
    about = prose(tag["description"])
    return (
        f'<section id="{name}" class="stack"><div><h2>{name}</h2><p class="aside">{about}</p></div>'
        f"{calls}</section>"
    )


def _call(document: Document, call: Call) -> str:
    operation = call.operation
    parts = [
        _part("Parameters", _rows(document, words.parameters(call)))
        if operation["parameters"]
        else "",
        _body(document, operation),
        _part("Example", command(operation["x-codeSamples"][0]["source"])),
        *_answers(document, operation),
        _part("Errors", _errors(operation)),
    ]
    return (
        f'<article class="panel" id="{operation["operationId"]}">'
        f'<h3 class="call"><span class="method">{call.method}</span>'
        f"<code>{escape(call.path)}</code></h3>"
        f"<p>{prose(operation['summary'])}</p>{''.join(parts)}</article>"
    )


def _part(title: str, content: str) -> str:
    return f'<div class="part"><h4>{title}</h4>{content}</div>'


def _body(document: Document, operation: dict[str, Any]) -> str:
    if "requestBody" not in operation:
        return ""
    body = operation["requestBody"]
    media = ", ".join(f"`{media}`" for media in body["content"])
    schema = next(iter(body["content"].values()))["schema"]
    schema = schema.get("x-lines", schema)
    most = f"At most {operation['x-body-bytes-max']:,} bytes of {media}."
    needed = "" if body["required"] else " It may be left out."
    about = f'<p>{prose(body["description"] + needed)}</p><p class="aside">{prose(most)}</p>'
    shown = (
        _rows(document, words.fields(document, schema))
        if body["required"]
        else _see(document, schema)
    )
    return _part("Body", about + shown)


def _answers(document: Document, operation: dict[str, Any]) -> Iterator[str]:
    for status, answer in operation["responses"].items():
        if status == "default" or "x-errors" in answer:
            continue
        content = f"<p>{prose(answer['description'])}</p>"
        for media, told in answer.get("content", {}).items():
            fields = _rows(document, words.fields(document, told["schema"]))
            content += fields or f'<p class="aside">{prose(f"`{media}`")}</p>'
            if "example" in told:
                content += block(words.spelled(told["example"]))
        yield _part(f"Answer {status}", content)


def _errors(operation: dict[str, Any]) -> str:
    return _listed(
        _entry(code, status, prose(meaning))
        for status, answer in operation["responses"].items()
        for code, meaning in answer.get("x-errors", {}).items()
    )


def _shape(document: Document, name: str) -> str:
    schema = document["components"]["schemas"][name]
    about = f"<p>{prose(schema['description'])}</p>" if "description" in schema else ""
    fields = _rows(document, words.fields(document, {"$ref": SCHEMAS + name}))
    return f'<article class="panel" id="{name}"><h3>{name}</h3>{about}{fields}</article>'


def _see(document: Document, schema: Schema) -> str:
    return f'<p class="aside">Its shape is {_linked(document, words.takes(schema))}.</p>'


def _rows(document: Document, rows: Iterable[Row]) -> str:
    return _listed(
        _entry(
            row.name,
            "required" if row.required else "optional",
            _linked(document, row.takes),
            prose(row.meaning),
        )
        for row in rows
    )


def _entry(name: str, mark: str, told: str, meaning: str = "") -> str:
    more = f"<dd>{meaning}</dd>" if meaning else ""
    return (
        f"<div><dt><code>{escape(name)}</code><span>{mark}</span></dt><dd>{told}</dd>{more}</div>"
    )


def _listed(entries: Iterable[str]) -> str:
    told = "".join(entries)
    return f'<dl class="fields">{told}</dl>' if told else ""


def _linked(document: Document, text: str) -> str:
    """With the names of shapes leading to where these are told."""
    shapes = document["components"]["schemas"]

    def link(found: re.Match[str]) -> str:
        return f'<a href="#{found[1]}">{found[0]}</a>' if found[1] in shapes else found[0]

    return _CODE.sub(link, prose(text))
