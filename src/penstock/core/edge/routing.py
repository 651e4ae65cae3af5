"""The routing table: (method, raw path, host) → endpoint, and the path's parameters decoded.

A path finds the most specific place that there is: what is said exactly goes before a `{parameter}`
and that before a `{rest...}`, segment by segment from the left. Then the method decides. A path
with a slash at its end is another one.
"""

import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import unquote_to_bytes

from penstock.core.edge.hosts import Hosts
from penstock.core.errors import MethodNotAllowed, Misconfigured, NotFound, Rejected

T = TypeVar("T")
_NOTHING: tuple[str, ...] = ()
_PARAMETER = re.compile(r"\{([a-z]\w*)(\.\.\.)?\}", re.ASCII)
_LITERAL = re.compile(r"[\w.~!$&'()*+,;=:@%-]+", re.ASCII)
_SERVER = "*"
"""What a request is about that is about no path (RFC 9110, 7.1)."""
_PERCENT = 0x25
"""As a number, which takes a tenth of the time to look for."""
_SAID, _FREE, _REST = range(3)
_Ranks = tuple[int, ...]
"""How exactly each segment of a path is said; the smaller, the more specific."""
_WRITE = "write it as `/a/{name}/{rest...}`: whole segments, and the rest of a path at its end"


def parameters(template: str) -> tuple[str, ...]:
    """Names of the parameters of a path, in order. Raise `ValueError` for one that is none."""
    return tuple(name for name, _ in _read(template) if name)


def claims_all(template: str) -> bool:
    """Whether it answers what nobody has named: it begins with a parameter."""
    first = next(iter(_read(template)), ("", ""))
    return bool(first[0])


def _read(template: str) -> list[tuple[str, str]]:
    """Of a parameter: its name, and `...` or nothing; of what is said exactly: nothing, and it."""
    if template == _SERVER:
        return [("", template)]
    head, *segments = template.split("/")
    read: list[tuple[str, str]] = []
    for segment in segments:
        found = _PARAMETER.fullmatch(segment)
        read.append((found[1], found[2] or "") if found else ("", segment))
    names = [name for name, _ in read if name]
    is_early = any(name and rest for name, rest in read[:-1])
    ends = read[:-1] if read[-1:] == [("", "")] else read  # with a slash
    is_sound = all(name or _LITERAL.fullmatch(text) for name, text in ends)
    if head or not read or not is_sound or is_early or len({*names}) < len(names):
        raise ValueError(f"{template} is no path of an operation; {_WRITE}")
    return read


class _Shape(NamedTuple, Generic[T]):
    """All places that say the same segments exactly, and leave the same ones free."""

    said: Callable[[Sequence[bytes]], Any]
    """From the segments of a path to its key in `places`."""
    places: dict[Any, dict[str, T]]
    """By method, each."""
    free: Callable[[Sequence[bytes]], Sequence[bytes]]
    """From the segments of a path to its parameters."""
    rest: int
    """Where what takes all that follows begins, or 0."""


class _Table(Generic[T]):
    """What one class of hosts answers.

    A path has few shapes, however many routes there are: a look-up for each that it may have, the
    most specific first, is half of what it takes to go down a tree of segments.
    """

    def __init__(self) -> None:
        self.exact: dict[bytes, dict[str, T]] = {}
        """By path, of those without parameters: most requests need no other."""
        self._shapes: dict[_Ranks, _Shape[T]] = {}
        self._by_length: dict[int, list[_Shape[T]]] = {}
        """Those that a path of so many segments may have."""
        self._longer: list[_Shape[T]] = []
        """Those of all longer ones."""

    def methods_at(self, template: str) -> dict[str, T]:
        """Of this place, which is made where it is new."""
        read = [("", ""), *_read(template)]
        if not any(name for name, _ in read):
            return self.exact.setdefault(template.encode(), {})
        ranks = tuple(_REST if name and text else _FREE if name else _SAID for name, text in read)
        if ranks not in self._shapes:
            said = itemgetter(*(at for at, rank in enumerate(ranks) if rank == _SAID))
            free = [at for at, rank in enumerate(ranks) if rank != _SAID]
            # Of a slice, for one index alone would give a thing and not a list.
            freed = itemgetter(*free) if free[1:] else itemgetter(slice(free[0], free[0] + 1))
            rest = free[-1] if ranks[-1] == _REST else 0
            self._shapes[ranks] = _Shape(said, {}, freed, rest)
            self._order()
        shape = self._shapes[ranks]
        return shape.places.setdefault(shape.said([text.encode() for _, text in read]), {})

    def _order(self) -> None:
        ordered = sorted(self._shapes.items(), key=itemgetter(0))
        self._longer = [shape for _, shape in ordered if shape.rest]
        self._by_length = {
            length: [
                shape
                for ranks, shape in ordered
                if length == len(ranks) or (shape.rest and length > len(ranks))
            ]
            for length in range(max(map(len, self._shapes)) + 1)
        }

    def match(self, raw_path: bytes) -> tuple[dict[str, T], tuple[str, ...]]:
        """Raise `NotFound`, or `Rejected` for a parameter that is not UTF-8."""
        segments = raw_path.split(b"/")
        for said, places, free, rest in self._by_length.get(len(segments), self._longer):
            methods = places.get(said(segments))
            if methods is not None:
                found = free(segments)
                if b"" not in found:
                    if rest:
                        found = [*found[:-1], b"/".join(segments[rest:])]
                    if _PERCENT in raw_path:
                        found = list(map(unquote_to_bytes, found))
                    return methods, _decoded(found)
        raise NotFound


class _Claim(NamedTuple, Generic[T]):
    operation: str
    hosts: str
    target: T


class Routes(Generic[T]):
    """`hosts`: which of them belong to which class."""

    def __init__(self, hosts: Hosts | None = None) -> None:
        self.hosts = hosts or Hosts("")
        self._tables: dict[str, _Table[T]] = {"": _Table()}
        """By class of hosts; what is of no class is in all of them."""
        self._claims: dict[tuple[str, str], list[_Claim[T]]] = {}
        """By method and path."""
        self._spelled: dict[str, tuple[str, str]] = {}
        """Of a place without its names: who claims it, and how they spell it."""

    def add(
        self, method: str, template: str, target: T, *, operation: str = "", hosts: str = ""
    ) -> None:
        """On a class of `hosts`, or on all. Raise `Misconfigured` for what is claimed already."""
        place = _PARAMETER.sub(r"{\2}", template)
        owner, spelled = self._spelled.setdefault(place, (operation, template))
        if spelled != template:
            raise Misconfigured(
                f"{operation} calls {template} what {owner} calls {spelled}; name it alike"
            )
        claims = self._claims.setdefault((method, template), [])
        for claim in claims:
            if not claim.hosts or not hosts or claim.hosts == hosts:
                raise Misconfigured(_twice(operation, claim.operation, f"{method} {template}"))
        if hosts not in self._tables:
            self._tables[hosts] = self._general()
        claims.append(_Claim(operation, hosts, target))
        for name, table in self._tables.items():
            if not hosts or name == hosts:
                table.methods_at(template)[method] = target

    def _general(self) -> _Table[T]:
        table: _Table[T] = _Table()
        for (method, template), claims in self._claims.items():
            for claim in claims:
                if not claim.hosts:
                    table.methods_at(template)[method] = claim.target
        return table

    @property
    def methods(self) -> tuple[str, ...]:
        """All that any path answers."""
        return _answered({method for method, _ in self._claims})

    def allowed(self, raw_path: bytes, host: str) -> tuple[str, ...]:
        """The methods of a path. Raise `NotFound`."""
        return _answered({*self._place(raw_path, host)[0]})

    def find(self, method: str, raw_path: bytes, host: str = "") -> tuple[T, tuple[str, ...]]:
        """Raise `NotFound` or `MethodNotAllowed`; `Rejected` for a parameter that is not UTF-8."""
        methods, found = self._place(raw_path, host)
        target = methods.get(method)
        if target is None and method == "HEAD":
            target = methods.get("GET")
        if target is None:
            raise MethodNotAllowed(_answered({*methods}))
        return target, found

    def _place(self, raw_path: bytes, host: str) -> tuple[dict[str, T], tuple[str, ...]]:
        tables = self._tables
        table = tables[""]
        if len(tables) > 1:
            table = tables.get(self.hosts.of(host), table)
        methods = table.exact.get(raw_path)
        return table.match(raw_path) if methods is None else (methods, _NOTHING)


def _twice(operation: str, claimant: str, what: str) -> str:
    both = f"{operation} twice" if operation == claimant else f"{claimant} and {operation}"
    return (
        f"{what} is claimed by {both}; give one of them another path, or leave its application "
        "out of PENSTOCK_APPLICATIONS"
    )


def _answered(methods: set[str]) -> tuple[str, ...]:
    """What answers GET answers HEAD."""
    return tuple(sorted(methods | {"HEAD"} if "GET" in methods else methods))


def _decoded(segments: Sequence[bytes]) -> tuple[str, ...]:
    try:
        return tuple(map(bytes.decode, segments))
    except UnicodeDecodeError as error:
        raise Rejected("the path is not percent-encoded UTF-8", code="bad_field") from error
