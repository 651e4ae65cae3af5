"""The admin listener: `POST /admin/reset` forgets everything. For test rigs; off by default.

It listens on the loopback only, on a port of its own, so that no client of the edge can reach it.
"""

from functools import partial

from penstock.core.edge import NO_CONTENT, Received, Response
from penstock.core.edge.dispatcher import Dispatcher
from penstock.core.edge.endpoints import AnswerEndpoint
from penstock.core.errors import NotReady
from penstock.core.ids import Ids
from penstock.core.log.sqlite import SqliteLog
from penstock.core.platform import Platform
from penstock.core.projection import Table
from penstock.core.projection.dead_letters import GIVEN_UP_SPACE
from penstock.core.projection.dead_letters import SPACE as DEAD_LETTERS
from penstock.core.projection.verdicts import SPACE as VERDICTS
from penstock.core.projection.witness import SPACE as COUNTED
from penstock.core.warehouse import sql

_BODY_BYTES_MAX = 1_024


def admin_edge(platform: Platform) -> Dispatcher:
    """An edge of its own, with that one operation."""

    async def answer(received: Received) -> Response:
        del received
        await platform.pools.operate(partial(reset, platform))
        return NO_CONTENT

    edge = Dispatcher(
        platform.settings,
        log=None,
        clock=platform.clock,
        ids=Ids(platform.clock),
        logger=platform.logger,
        registry=platform.registry,
    )
    endpoint = AnswerEndpoint(operation="reset", body_bytes_max=_BODY_BYTES_MAX, answer=answer)
    edge.add("POST", "/admin/reset", endpoint)
    return edge


def reset(platform: Platform) -> None:
    """Forget every event and every view; what people have set stays. Blocks; events that arrive
    meanwhile may go too.
    """
    stores = platform.require_stores()
    if not isinstance(platform.follow, SqliteLog):
        raise NotReady("only a process with all roles can be reset")
    for consumer in platform.consumers.carried:
        consumer.stop()
    platform.near.stop()
    platform.follow.clear()
    platform.near.forget()
    for manifest in platform.manifests:
        for projection in manifest.projections:
            for table in projection.tables:
                stores.tables.drop(table)
            if not isinstance(projection, Table):
                stores.state.drop(projection.space)
        stores.tables.create(sql.schema(manifest.package))
    for space in (DEAD_LETTERS, GIVEN_UP_SPACE, VERDICTS, COUNTED):
        stores.state.drop(space)
    if platform.editing is not None:  # what people have set stays, and has to be said again
        platform.editing.republish()
    platform.watch.begin()
    platform.near.start()
    for consumer in platform.consumers.carried:
        consumer.start()
