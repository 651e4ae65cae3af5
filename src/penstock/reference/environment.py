"""What operators copy and fill in: `deploy/.env.example`, with every setting there is."""

import textwrap
from collections.abc import Iterator, Sequence

import msgspec

from penstock.core.manifest import Manifest
from penstock.core.settings import PREFIX, Settings
from penstock.reference.operating import settings_of

_COLUMNS = 98

_STACK = """\
# Generated from the code; do not edit, run `make docs`.
#
# Copy this to `.env` beside it and fill in the two passwords. Below them stands every setting of
# Penstock with its default; remove the `#` before one to change it. A value with a `$` in it stands
# between single quotes. Folder, host, port and proxies stay as compose.yaml sets them.

# -- the stack of compose.yaml --

# Password of ClickHouse's user. It becomes part of a URL: take letters and digits.
CLICKHOUSE_PASSWORD=

# Password of Grafana's user `admin`.
GRAFANA_PASSWORD=

# Address and port that the stack offers; 0.0.0.0:8080: to everybody who can reach this machine.
#LISTEN=127.0.0.1:8080
"""


def environment_example(manifests: Sequence[Manifest]) -> str:
    parts = [_STACK, *_section("the core", Settings, PREFIX)]
    for manifest in manifests:
        prefix = f"{PREFIX}{manifest.name.upper()}_"
        parts += _section(manifest.name, manifest.settings, prefix)
    return "\n".join(parts)


def _section(title: str, struct: type[msgspec.Struct], prefix: str) -> Iterator[str]:
    yield f"# -- {title} --\n"
    for setting in settings_of(struct, prefix):
        meaning = textwrap.fill(
            setting.meaning, _COLUMNS, initial_indent="# ", subsequent_indent="# "
        )
        yield f"{meaning}\n#{setting.variable}={setting.default}\n"
