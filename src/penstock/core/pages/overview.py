"""The page at the printed address: what runs, how far it is, and the first two commands."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Annotated

import msgspec
from msgspec import Meta

from penstock.core.interface import Offer
from penstock.core.log import Minute, added_up
from penstock.core.manifest import Manifest
from penstock.core.openapi.trying import curl
from penstock.core.pages.markup import command, framed, prose
from penstock.core.stages import WORST_FIRST, Pipeline, ProjectionStage


class ViewLine(msgspec.Struct, frozen=True):
    """How far a projection is, all of its partitions together."""

    projection: str
    state: Annotated[str, Meta(description="The worst of its partitions'.")]
    lag_records: Annotated[int | None, Meta(description="Null where it is not known just now.")]
    lag_seconds: Annotated[float | None, Meta(description="Of the partition that is last.")]
    quarantined: Annotated[int | None, Meta(description="Dead letters.")]
    last_error: str


class AccountLine(msgspec.Struct, frozen=True):
    """Events of the last 60 minutes, all topics together."""

    received: int
    stored: int
    duplicate: int
    rejected: int
    balanced: Annotated[bool, Meta(description="received = stored + duplicate + rejected")]


class Overview(msgspec.Struct, frozen=True):
    """What runs, and how far it is."""

    version: str
    roles: Annotated[list[str], Meta(description="What this process is for.")]
    started_at_ms: Annotated[int, Meta(description="Milliseconds since 1970.")]
    engines: Annotated[dict[str, str], Meta(description="By the seam that it stands behind.")]
    applications: Annotated[dict[str, str], Meta(description="What each is for.")]
    problems: Annotated[
        dict[str, str],
        Meta(description="As `/readyz` has them, and what is not known; empty: ready."),
    ]
    account: AccountLine
    projections: list[ViewLine]


FRESH_SECONDS_MAX = 3.0
_UNKNOWN = "\N{EN DASH}"


def account(stages: Pipeline) -> AccountLine:
    total = added_up(
        Minute(m["minute"], m["received"], m["stored"], m["duplicate"], m["rejected"])
        for topic in stages["topics"]
        for m in topic["minutes"]
    )
    balanced = all(topic["balanced"] for topic in stages["topics"])
    return AccountLine(total.received, total.stored, total.duplicate, total.rejected, balanced)


def views(stages: Pipeline) -> list[ViewLine]:
    partitions: dict[str, list[ProjectionStage]] = {}
    for stage in stages["projections"]:
        partitions.setdefault(stage["projection"], []).append(stage)
    return [_view(name, found) for name, found in partitions.items()]


def _view(name: str, found: Sequence[ProjectionStage]) -> ViewLine:
    records = [stage.get("lag_records") for stage in found]
    seconds = [stage.get("lag_seconds") for stage in found]
    letters = [stage["quarantined"] for stage in found]
    return ViewLine(
        name,
        min((stage["state"] for stage in found), key=WORST_FIRST.index),
        sum(n for n in records if n is not None) if None not in records else None,
        max(n for n in seconds if n is not None) if None not in seconds else None,
        sum(n for n in letters if n is not None) if None not in letters else None,
        next((error for stage in found if (error := stage.get("last_error", ""))), ""),
    )


def with_age(problems: Mapping[str, str], age_seconds: float | None) -> dict[str, str]:
    """The problems, and that the stages are not as they are now where they are not."""
    if age_seconds is None:
        return {**problems, "pipeline": "no answer yet"}
    if age_seconds <= FRESH_SECONDS_MAX:
        return dict(problems)
    return {**problems, "pipeline": f"as it was {age_seconds:.0f} seconds ago"}


def page(overview: Overview, manifests: Sequence[Manifest], now_ms: int) -> str:
    return framed(
        "Overview",
        "/",
        f"""<main id="main" class="stack">
<h1>Overview</h1>
<p class="aside" role="status" data-lost></p>
<div class="stack" data-live>
{_state(overview)}
{_account(overview.account)}
<div class="grid">
{_views(overview.projections)}
{_facts(overview, now_ms)}
</div>
</div>
{"".join(_first_steps(manifests))}
</main>""",
    )


def _state(overview: Overview) -> str:
    if not overview.problems:
        return (
            '<div class="state ok"><strong>Ready</strong>'
            '<span class="aside">Events are made durable, and every view answers.</span></div>'
        )
    problems = "".join(
        f"<li><code>{escape(name)}</code> {escape(problem)}</li>"
        for name, problem in overview.problems.items()
    )
    return f'<div class="state bad"><strong>Not ready</strong><ul>{problems}</ul></div>'


def _account(told: AccountLine) -> str:
    said = "Every event of the last hour is accounted for"
    parts = (
        f"{_count(told.received)} received = {_count(told.stored)} stored + "
        f"{_count(told.duplicate)} duplicate + {_count(told.rejected)} rejected"
    )
    if not told.balanced:
        said = "Events of the last hour are not accounted for"
    kind = "ok" if told.balanced else "bad"
    return (
        f'<div class="state {kind}"><strong>{said}</strong>'
        f'<span class="aside figures">{parts}</span></div>'
    )


def _views(lines: Sequence[ViewLine]) -> str:
    if lines:
        rows = "".join(map(_row, lines))
        shown = (
            '<table><thead><tr><th scope="col">Projection</th>'
            '<th scope="col" class="figure phone-less">Behind</th>'
            '<th scope="col" class="figure">Lag</th>'
            '<th scope="col" class="figure">Dead letters</th>'
            f"</tr></thead><tbody>{rows}</tbody></table>"
        )
    else:
        shown = '<p class="aside">A process without the roles api and work knows no projection.</p>'
    return (
        '<section class="panel"><div class="head"><h2>How far it is</h2>'
        f'<span class="aside">behind the log</span></div>{shown}</section>'
    )


def _row(line: ViewLine) -> str:
    said = ""
    if line.state in ("stopped", "retrying"):
        word = f'<span class="bad-word">{escape(line.state)}</span>'
        said = f'<span class="aside">{word} {escape(line.last_error)}</span>'
    return (
        f"<tr><td>{escape(line.projection)}{said}</td>"
        f'<td class="figure phone-less">{_count(line.lag_records)}</td>'
        f'<td class="figure">{_seconds(line.lag_seconds)}</td>'
        f'<td class="figure{" bad-word" if line.quarantined else ""}">'
        f"{_count(line.quarantined)}</td></tr>"
    )


def _facts(overview: Overview, now_ms: int) -> str:
    facts = {
        "Roles": ", ".join(overview.roles),
        **{seam.capitalize(): engine for seam, engine in overview.engines.items()},
        "Up for": _age((now_ms - overview.started_at_ms) // 1000),
    }
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    return (
        '<section class="panel"><div class="head"><h2>What runs</h2></div>'
        f'<dl class="facts">{rows}</dl></section>'
    )


def _first_steps(manifests: Iterable[Manifest]) -> Iterator[str]:
    """Of each application the first thing that it takes, and the first that it answers."""
    for manifest in manifests:
        offers: list[Offer] = [*manifest.ingest[:1], *manifest.routes[:1]]
        steps = "".join(map(_step, offers))
        name = escape(manifest.name)
        yield (
            f'<section class="panel"><div class="head"><h2>{name.capitalize()}</h2>'
            f'<span class="aside">{prose(manifest.summary)}</span>'
            f'<a href="/docs#{name}">All its operations</a></div>{steps}</section>'
        )


def _step(offer: Offer) -> str:
    shown = command(curl(offer))
    return f'<div class="part"><p>{prose(offer.summary)}</p>{shown}</div>'


def _count(number: int | None) -> str:
    return _UNKNOWN if number is None else f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return _UNKNOWN
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _age(seconds: int) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def engines(urls: Mapping[str, str]) -> dict[str, str]:
    """Only which they are: where they are is nobody's business."""
    return {seam: url.partition("://")[0] for seam, url in urls.items()}
