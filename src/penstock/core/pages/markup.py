"""HTML of both pages: the frame around them, and what they have in common.

Whatever is not written here is escaped, wherever it comes from.
"""

import re
from html import escape

from penstock import __version__
from penstock.core.openapi.trying import LOCAL

_CODE = re.compile(r"`([^`]+)`")
_LINKS = (
    ("/", "Overview"),
    ("/docs", "HTTP"),
    ("/openapi.json", "OpenAPI"),
    ("/api/pipeline", "Pipeline"),
    ("/metrics", "Metrics"),
)


def framed(title: str, path: str, main: str) -> str:
    links = "".join(
        f'<a href="{to}"{" aria-current=page" if to == path else ""}>{name}</a>'
        for to, name in _LINKS
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Penstock</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/pages/style.css">
<script src="/pages/page.js" defer></script>
</head>
<body>
<a class="skip" href="#main">To the content</a>
<div class="page">
<header class="top">
<a class="name" href="/"><span class="mark"></span>Penstock</a>
<span class="version">{escape(__version__)}</span>
<nav class="links" aria-label="Pages">{links}</nav>
</header>
{main}
</div>
</body>
</html>
"""


def prose(text: str) -> str:
    """With what stands between backticks as code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def command(text: str) -> str:
    """To be copied; it names the address under which the page was asked for."""
    told = escape(text).replace(LOCAL, f"<span data-origin>{LOCAL}</span>")
    return (
        f'<div class="try"><pre><code>{told}</code></pre>'
        '<button class="copy" type="button" hidden>Copy</button></div>'
    )


def block(text: str) -> str:
    return f"<pre><code>{escape(text)}</code></pre>"
