"""The routing table: (method, raw path) → endpoint, and the path's parameters decoded."""

from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from penstock.core.errors import MethodNotAllowed, NotFound, Rejected

T = TypeVar("T")
_NOTHING: tuple[str, ...] = ()


class Routes(Generic[T]):
    """Templates are literal segments and `{parameters}`; a parameter is never empty."""

    def __init__(self) -> None:
        self._exact: dict[bytes, dict[str, T]] = {}
        self._templates: list[tuple[tuple[bytes | None, ...], dict[str, T]]] = []

    def add(self, method: str, template: str, target: T) -> None:
        segments = tuple(
            None if segment.startswith("{") else segment.encode() for segment in template.split("/")
        )
        if None not in segments:
            methods = self._exact.setdefault(template.encode(), {})
        else:
            methods = next((found for known, found in self._templates if known == segments), {})
            if not methods:
                self._templates.append((segments, methods))
        if method in methods:
            raise ValueError(f"two routes for {method} {template}")
        methods[method] = target

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
            raise MethodNotAllowed(tuple(sorted(methods)))
        return target, parameters

    def _match(self, raw_path: bytes) -> tuple[dict[str, T], tuple[str, ...]]:
        path = raw_path.split(b"/")
        for template, methods in self._templates:
            if len(template) == len(path):
                pairs = list(zip(template, path, strict=True))
                if all(given if known is None else known == given for known, given in pairs):
                    return methods, tuple(
                        _decoded(given) for known, given in pairs if known is None
                    )
        raise NotFound


def _decoded(segment: bytes) -> str:
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError as error:
        raise Rejected("the path is not percent-encoded UTF-8", code="bad_field") from error
