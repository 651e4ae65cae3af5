"""The routing table: (method, raw path) → endpoint, and the path's parameters decoded."""

import re
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from penstock.core.errors import MethodNotAllowed, NotFound, Rejected

T = TypeVar("T")
_NOTHING: tuple[str, ...] = ()


class Routes(Generic[T]):
    """Templates are literal segments and `{parameters}`; a parameter is never empty."""

    def __init__(self) -> None:
        self._exact: dict[bytes, dict[str, T]] = {}
        self._templates: dict[re.Pattern[bytes], dict[str, T]] = {}

    def add(self, method: str, template: str, target: T) -> None:
        segments = [
            "([^/]+)" if segment.startswith("{") else re.escape(segment)
            for segment in template.split("/")
        ]
        if "{" in template:
            pattern = re.compile("/".join(segments).encode(), re.DOTALL)
            methods = self._templates.setdefault(pattern, {})
        else:
            methods = self._exact.setdefault(template.encode(), {})
        if method in methods:
            raise ValueError(f"two routes for {method} {template}")
        methods[method] = target

    @property
    def methods(self) -> tuple[str, ...]:
        """All that any path answers."""
        return _answered(*self._exact.values(), *self._templates.values())

    def find(self, method: str, raw_path: bytes) -> tuple[T, tuple[str, ...]]:
        """Raise `NotFound` or `MethodNotAllowed`; `Rejected` for a parameter that is not UTF-8."""
        methods = self._exact.get(raw_path)
        parameters = _NOTHING
        if methods is None:
            methods, parameters = self._match(raw_path)
        target = methods.get(method)
        if target is None and method == "HEAD":
            target = methods.get("GET")
        if target is None:
            raise MethodNotAllowed(_answered(methods))
        return target, parameters

    def _match(self, raw_path: bytes) -> tuple[dict[str, T], tuple[str, ...]]:
        for pattern, methods in self._templates.items():
            if match := pattern.fullmatch(raw_path):
                return methods, tuple(map(_decoded, match.groups()))
        raise NotFound


def _answered(*tables: dict[str, T]) -> tuple[str, ...]:
    """The methods of these paths: what answers GET answers HEAD."""
    methods = {method for table in tables for method in table}
    return tuple(sorted(methods | {"HEAD"} if "GET" in methods else methods))


def _decoded(segment: bytes) -> str:
    try:
        return (unquote_to_bytes(segment) if b"%" in segment else segment).decode()
    except UnicodeDecodeError as error:
        raise Rejected("the path is not percent-encoded UTF-8", code="bad_field") from error
