"""One run from beginning to end: start, preload, drive, tail, report."""

import asyncio
import resource
from contextlib import suppress
from typing import NamedTuple

import uvloop

from penstock.load.chaos import Server
from penstock.load.client import Endpoint
from penstock.load.drive import Drive
from penstock.load.fates import ACCEPTED, INDETERMINATE
from penstock.load.freshness import Prober
from penstock.load.holding import check_holding
from penstock.load.plans import Options, Plan
from penstock.load.preload import assume, preload
from penstock.load.progress import progress
from penstock.load.report import Report, Resources, score
from penstock.load.resources import Meter, disk_bytes
from penstock.load.session import Session
from penstock.load.tail import check_tail
from penstock.load.workload import Workload

_TIMEOUT = "timeout"


def run(name: str, plan: Plan, options: Options, workload: Workload) -> Report:
    """Drive the server of `options` through `plan`; blocks until the report is complete."""
    return uvloop.run(_run(name, plan, options, workload))


async def _run(name: str, plan: Plan, options: Options, workload: Workload) -> Report:
    endpoint = Endpoint(options.url, options.ca)
    server = Server(options, endpoint)
    try:
        await server.start()
        await check_holding(endpoint, workload, options.start_index)
        assume(workload, options.start_index)
        if options.preload:
            with progress("preload", options.preload) as show:
                await preload(endpoint, workload, options.preload, show)
        session = Session(options, plan, workload=workload)
        return await _measured(name, plan, session, server)
    finally:
        await server.stop()


async def _measured(name: str, plan: Plan, session: Session, server: Server) -> Report:
    options = session.options
    meter = Meter(lambda: server.pid)
    cpu_before = _cpu_seconds()
    drive = Drive(session, plan, first=options.first)
    prober = Prober(session)
    tasks = [asyncio.create_task(meter.run())]
    if plan.kill_every is not None:
        tasks.append(asyncio.create_task(server.kill_repeatedly(plan.kill_every)))
    try:
        with progress(name, plan.events) as show:
            await drive.run(show)
        await _cancel(tasks)
        if plan.kill_every is not None:
            await server.listening()
        await check_tail(session, plan, first=options.first)
    finally:
        await session.close()
        await prober.close()
        await _cancel(tasks)
    meter.sample()
    outcome = _Outcome(plan, session, drive, prober, server.kills)
    return outcome.report(name, _resources(session, meter, _cpu_seconds() - cpu_before))


class _Outcome(NamedTuple):
    plan: Plan
    session: Session
    drive: Drive
    prober: Prober
    kills: int

    def report(self, name: str, resources: Resources) -> Report:
        session, sent = self.session, self.drive.sent
        first = session.options.first
        fates = session.ledger.fates[first : first + sent]
        killed = self.plan.kill_every is not None
        workload, freshness = session.workload, self.prober.freshness()
        scores = {
            kind.name: score(session.queries[kind.name], answered_only=killed)
            for kind in workload.kinds
        }
        reasons = self._reasons(sum(kind.overdue for kind in freshness.values()))
        return Report(
            run=name,
            rate=self.plan.rate,
            seed=session.options.seed,
            seconds=round(self.drive.seconds, 3),
            first_index=first,
            accepted=int((fates == ACCEPTED).sum()),
            indeterminate=int((fates == INDETERMINATE).sum()),
            scores=scores,
            facts=workload.facts(first + sent, scores),
            kills=self.kills,
            perfect=not reasons,
            reasons=reasons,
            operations={name: tally.operation() for name, tally in session.tallies.items()},
            send_lag=session.send_lag.durations(),
            freshness=freshness,
            resources=resources,
            wrong_answers=session.wrong_answers,
        )

    def _reasons(self, overdue: int) -> list[str]:
        """Why it is not perfect: every answer is to be exact and none missing; kills excuse
        failures, but none in the tail.
        """
        workload, events = self.session.workload, self.session.events
        killed = self.plan.kill_every is not None
        excused = {workload.operation, *(kind.name for kind in workload.kinds)} if killed else set()
        reasons = []
        accepted = events.outcomes.get(workload.success, 0)
        if not accepted:
            reasons.append(f"no {workload.unit} was accepted")
        if other := events.sent - events.failed - accepted:
            reasons.append(
                f"{workload.operation}: {other} of {events.sent} got another success than "
                f"{workload.success}"
            )
        patience = self.session.patience
        for name, tally in self.session.tallies.items():
            if tally.wrong:
                reasons.append(
                    f"{name}: {tally.wrong} of {tally.sent} answers are wrong, see below"
                )
            if tally.failed and name not in excused:
                causes = ", ".join(f"{count} {cause}" for cause, count in tally.failures.items())
                reason = f"{name}: {tally.failed} of {tally.sent} requests failed: {causes}"
                if _TIMEOUT in tally.failures:
                    reason += (
                        f", no answer within {patience[name]:g} s; --timeouts waits longer, as for "
                        "a machine that has other things to do"
                    )
                reasons.append(reason)
        if overdue and not killed:
            reasons.append(
                f"{overdue} of the {workload.unit}s that were looked for did not show in time"
            )
        return reasons


def _resources(session: Session, meter: Meter, cpu_seconds: float) -> Resources:
    requests = sum(tally.sent for tally in session.tallies.values())
    written, data = meter.written_bytes, session.options.data
    return Resources(
        client_cpu_seconds=round(cpu_seconds, 3),
        client_cpu_us_per_request=round(cpu_seconds / max(1, requests) * 1e6, 1),
        server_cpu_seconds=meter.cpu_seconds,
        server_peak_rss_bytes=meter.peak_rss_bytes,
        disk_bytes=None if data is None else disk_bytes(data),
        write_amplification=(
            None if written is None else round(written / max(1, session.event_bytes), 3)
        ),
    )


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    """Stop background tasks; an error that ended one earlier is raised here."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
    tasks.clear()
