"""A redirect of the benchmark on Penstock's edge: the answer leaves first, its event is committed
behind it. `python -m bench.references.redirect PORT FOLDER`.
"""

import msgspec

from bench.references.hosting import host
from penstock.core.edge import Known, Received, Reply, Response
from penstock.core.events import Event
from penstock.core.interface import Answer, Interface, Parameter
from penstock.core.manifest import Ingest, Manifest
from penstock.core.projection import Topic

_LOCATION = b"https://shop.example/landing?click="


class Clicked(Event, frozen=True, array_like=True, gc=False, tag="clicked/1"):
    campaign: str
    query: str
    at_ms: int


class Settings(msgspec.Struct, frozen=True):
    """It has none."""


CLICKS = Topic("bench.clicks", (Clicked,))


def redirect(received: Received, known: Known[Settings, None]) -> Reply:
    del known
    click = Clicked(received.parameters[0], received.query.decode("latin-1"), received.at_ms)
    return Reply((click,), Response(302, b"", ((b"location", _LOCATION + received.query),)))


MANIFEST = Manifest(
    name="bench",
    summary="One redirect.",
    settings=Settings,
    topics=(CLICKS,),
    ingest=(
        Ingest(
            operation="bench.redirect",
            methods=("GET",),
            paths=("/r/{campaign}",),
            emits=(CLICKS,),
            handle=redirect,
            body_bytes_max=0,
            summary="Redirect and record the click.",
            interface=Interface(
                parameters=(
                    Parameter(
                        name="campaign",
                        place="path",
                        shape=str,
                        meaning="Where from.",
                        required=True,
                        example=("spring",),
                    ),
                ),
                answers=(Answer(status=302, meaning="To the shop."),),
            ),
            respond_first="fail_open",
        ),
    ),
    package=__package__,
)


if __name__ == "__main__":
    host(MANIFEST, roles=("edge",))
