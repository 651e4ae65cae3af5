"""Markdown as we write it: a heading, sentences on lines of their own, tables."""

import re
from collections.abc import Iterable, Sequence

FIRST_LINE = "<!-- Generated from the code; do not edit, run `make docs`. -->"

_AS_IT_IS = ("#", "|", "```")
_SENTENCE_END = re.compile(r"\. (?=[A-Z`])")


def page(title: str, parts: Iterable[str]) -> str:
    texts = [part if part.startswith(_AS_IT_IS) else _prose(part) for part in parts]
    return "\n\n".join([FIRST_LINE, f"# {title}", *(text for text in texts if text)]) + "\n"


def _prose(text: str) -> str:
    """One sentence a line, as in all our Markdown."""
    return _SENTENCE_END.sub(".\n", " ".join(text.split()))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
