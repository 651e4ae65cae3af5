"""What `/readyz` of a running process says."""

import http.client
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from penstock.core.control import Door
from penstock.core.tls import Address

_TIMEOUT_SECONDS = 10.0


class Told(NamedTuple):
    """By what it is of."""

    problems: Mapping[str, str] = MappingProxyType({})
    warnings: Mapping[str, str] = MappingProxyType({})


def readiness(door: Door) -> Told:
    connection = Address(door.url, door.certificate).connect(_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        return Told({"ready": f"/readyz does not answer: {error}"})
    finally:
        connection.close()
    told = msgspec.json.decode(body, type=dict[str, Any])
    if response.status == http.client.OK:
        return Told(warnings=told.get("warnings", {}))
    found = told.get("problems")
    if not isinstance(found, dict):
        return Told({"ready": str(told.get("message", f"/readyz says {response.status}"))})
    return Told({str(name): str(problem) for name, problem in found.items()})
