"""The composition root: which applications there are, and settings into a platform."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

import msgspec

from penstock.core import engines
from penstock.core import settings as configuration
from penstock.core.clock import Clock, SystemClock
from penstock.core.edge import judging
from penstock.core.errors import Misconfigured
from penstock.core.ingesting import ingest_endpoints
from penstock.core.log.backup import Bars
from penstock.core.log.kept import overruled
from penstock.core.manifest import Manifest
from penstock.core.platform import ROLES, Platform
from penstock.core.telemetry import logger
from penstock.core.worker import Handle, Worker, work

APPLICATIONS = {
    "audiences": "penstock.apps.audiences",
}
"""Ours by name, where the module `manifest` of each lies. Others are named by their packages. One
that is not chosen is never imported.
"""

_Given = tuple[configuration.Settings, dict[str, msgspec.Raw]]


def manifests(chosen: str = "") -> tuple[Manifest, ...]:
    """Of what `PENSTOCK_APPLICATIONS` names, or of all of ours. Raise `Misconfigured`."""
    return tuple(map(_manifest, configuration.listed(chosen) or APPLICATIONS))


def _manifest(name: str) -> Manifest:
    """Of one of ours, or of the package that is named: as installed, on PYTHONPATH, or in the
    current folder, where nothing hides what is installed. Raise `Misconfigured`.
    """
    package = APPLICATIONS.get(name, name)
    if package == name and (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    module = f"{package}.manifest"
    try:
        found = getattr(import_module(module), "manifest", None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise _unfit(name, f"{module} needs {error.name}, which is not installed") from error
        raise _unfit(name, _there_is_none(package, error.name)) from error
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        raise _unfit(name, f"{module} cannot be imported: {told}") from error
    if not isinstance(found, Manifest):
        raise _unfit(name, f"{module} has no `manifest = Manifest(...)`")
    if found.name != package.rpartition(".")[2]:
        raise _unfit(name, f"its manifest calls it {found.name}; give it the name of its package")
    return found


def _there_is_none(package: str, lacking: str) -> str:
    if lacking == f"{package}.manifest":
        return f"the package {package} has no module `manifest`"
    near = get_close_matches(package, APPLICATIONS, n=1, cutoff=0.5)
    return (
        f"there is no such application{f'; did you mean {near[0]}?' if near else ''}; ours are "
        f"{', '.join(APPLICATIONS)}, and no package {lacking} is found: start in the folder that "
        "it lies in, name that in PYTHONPATH, or install it"
    )


def _unfit(name: str, why: str) -> Misconfigured:
    return Misconfigured(f"PENSTOCK_APPLICATIONS: {name}: {why}")


class _Structs(Mapping[str, type[msgspec.Struct]]):
    """The settings of each application, which is imported when it is asked for them: ours, and
    others by their packages.
    """

    def __getitem__(self, name: str) -> type[msgspec.Struct]:
        return _manifest(name).settings

    def __iter__(self) -> Iterator[str]:
        return iter(APPLICATIONS)

    def __len__(self) -> int:
        return len(APPLICATIONS)


def read_settings(
    environment: Mapping[str, str], overrides: Mapping[str, object] | None = None
) -> configuration.Settings:
    """The core's settings. Raise `Misconfigured`."""
    return configuration.load(environment, _Structs(), overrides)[0]


def prepare(
    environment: Mapping[str, str], overrides: Mapping[str, object], bars: Bars
) -> list[str]:
    """Create what the engines lack of topics and tables; what was found and done, in words.

    Raise `Misconfigured` for what cannot be reached, or is there and differs.
    """
    settings = read_settings(environment, overrides)
    offered = manifests(settings.applications)
    said = {topic.name: topic.kept for application in offered for topic in application.topics}
    return [
        *engines.prepare_log(settings, overruled(said, settings), bars),
        *engines.prepare_warehouse(settings, [a.package for a in offered]),
        *engines.prepare_state(settings),
        *(engines.prepare_database(settings) if any(a.entities for a in offered) else ()),
    ]


def build(
    environment: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
    *,
    roles: Sequence[str] = ROLES,
    clock: Clock | None = None,
    others: Sequence[Manifest] = (),
) -> Platform:
    """Everything that the processes share, opened but not started. Raise `Misconfigured`.

    With `others` they are served instead of ours, and their bodies are judged in this process: no
    other one knows them.
    """
    structs = {manifest.name: manifest.settings for manifest in others} or _Structs()
    settings, applications = configuration.load(environment, structs, overrides)
    lines = logger(settings.log_level, settings.log_format)
    judging_apart = Worker(
        "from penstock.main import judge; judge()", (settings, applications), lines
    )
    return Platform(
        settings,
        applications,
        others or manifests(settings.applications),
        clock=clock or SystemClock(),
        logger=lines,
        roles=roles,
        judge=None if others else judging_apart,
    )


def judge() -> None:
    """A process that judges bodies for the one that started it, by the same settings."""

    def make(given: bytes) -> Handle:
        settings, structs = msgspec.msgpack.decode(given, type=_Given)
        offered = manifests(settings.applications)
        applications = {
            application.name: msgspec.msgpack.decode(
                structs[application.name], type=application.settings
            )
            for application in offered
        }
        endpoints = ingest_endpoints(settings, applications, offered)
        return judging.answer({endpoint.operation: endpoint for endpoint in endpoints})

    work(make)
