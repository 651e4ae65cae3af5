"""A registry of schemas, by the protocol of Confluent's."""

import json
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from penstock.core.errors import Misconfigured, NotReady
from penstock.core.settings import redacted

_SECONDS = 5.0
_TYPE = "application/vnd.schemaregistry.v1+json"


class Registry:
    """Schemas of one subject. Numbers are kept in a file, so that no start needs the registry."""

    def __init__(self, url: str, subject: str, kept: Path) -> None:
        parts = urlsplit(url)
        user, _, host = parts.netloc.rpartition("@")
        self._url = urlunsplit(parts._replace(netloc=host)).rstrip("/")
        self._told = redacted(url)
        self._subject = subject
        self._kept = kept
        self._headers = {"Content-Type": _TYPE, "Accept": _TYPE}
        if user:
            self._headers["Authorization"] = f"Basic {b64encode(unquote(user).encode()).decode()}"

    def number(self, schema: str) -> int:
        """Raise `Misconfigured` when the registry is away for the first time, or refuses it."""
        kept: dict[str, int] = json.loads(self._kept.read_text()) if self._kept.exists() else {}
        key = f"{self._subject} {schema}"
        if key not in kept:
            kept[key] = self._register(schema)
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            self._kept.write_text(json.dumps(kept))
        return kept[key]

    def schema(self, number: int) -> str:
        """Raise `LookupError` when there is none, and `NotReady` when the registry is away."""
        try:
            return str(self._ask(f"/schemas/ids/{number}")["schema"])
        except HTTPError as error:
            if error.code == 404:
                raise LookupError(number) from error
            raise self._away(error) from error
        except (URLError, OSError, ValueError) as error:
            raise self._away(error) from error

    def _away(self, error: Exception) -> NotReady:
        return NotReady("the schema registry does not answer", detail=f"{self._told}: {error}")

    def _register(self, schema: str) -> int:
        path = f"/subjects/{quote(self._subject, safe='')}/versions"
        try:
            return int(self._ask(path, {"schema": schema})["id"])
        except HTTPError as error:
            detail = error.read().decode(errors="replace")
            raise Misconfigured(
                f"PENSTOCK_KAFKA_SCHEMA_REGISTRY: {self._told} refuses the schema of "
                f"{self._subject}: {error} {detail}"
            ) from error
        except (URLError, OSError, ValueError) as error:
            raise Misconfigured(
                f"PENSTOCK_KAFKA_SCHEMA_REGISTRY: {self._told} does not answer: {error}"
            ) from error

    def _ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._url + path, data, self._headers)  # noqa: S310 - the operator's URL
        with urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 - the same
            return json.load(answer)
