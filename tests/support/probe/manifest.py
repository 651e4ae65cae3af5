"""An application beside ours: one topic, and one operation that is to answer when it is chosen."""

import msgspec

from penstock.core.edge import Known, Received, Reply
from penstock.core.events import Event
from penstock.core.interface import Answer, Interface
from penstock.core.manifest import Ingest, Manifest
from penstock.core.projection import Topic


class Settings(msgspec.Struct, frozen=True):
    loud: bool = False


class Probed(Event, frozen=True, array_like=True, gc=False, tag="probed/1"):
    """Somebody probed."""


PROBES = Topic("probe.probes", (Probed,))


def probe(received: Received, known: Known[Settings, None]) -> Reply:
    del received, known
    return Reply((Probed(),))


manifest = Manifest(
    name="probe",
    summary="Takes probes.",
    settings=Settings,
    topics=(PROBES,),
    ingest=(
        Ingest(
            operation="probe.take",
            paths=("/probes",),
            emits=(PROBES,),
            handle=probe,
            body_bytes_max=0,
            summary="Take a probe.",
            interface=Interface(answers=(Answer(status=204, meaning="Taken."),)),
        ),
    ),
    package=__package__,
)
