"""The admin listener: `POST /admin/reset` forgets everything. For test rigs; off by default.

It listens on the loopback only, on a port of its own, so that no client of the edge can reach it.
"""

from functools import partial

from penstock.core.edge import NO_CONTENT, Received, Response
from penstock.core.edge.desk import Edge
from penstock.core.edge.endpoints import AnswerEndpoint
from penstock.core.ids import Ids
from penstock.core.platform import Platform

_BODY_BYTES_MAX = 1_024


def admin_edge(platform: Platform) -> Edge:
    """An edge of its own, with that one operation."""

    async def reset(received: Received) -> Response:
        del received
        await platform.operate(partial(platform.reset))
        return NO_CONTENT

    edge = Edge(
        platform.settings,
        log=None,
        clock=platform.clock,
        ids=Ids(platform.clock),
        logger=platform.logger,
        registry=platform.registry,
    )
    endpoint = AnswerEndpoint(operation="reset", body_bytes_max=_BODY_BYTES_MAX, answer=reset)
    edge.add("POST", "/admin/reset", endpoint)
    return edge
