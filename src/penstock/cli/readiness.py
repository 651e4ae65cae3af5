"""What `/readyz` of a running process says."""

import http.client

import msgspec

from penstock.core.control import Door
from penstock.core.tls import Address

_TIMEOUT_SECONDS = 10.0


def problems(door: Door) -> dict[str, str]:
    """What is wrong, by what it is wrong with."""
    connection = Address(door.url, door.certificate).connect(_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        return {"ready": f"/readyz does not answer: {error}"}
    finally:
        connection.close()
    if response.status == http.client.OK:
        return {}
    told = msgspec.json.decode(body, type=dict[str, object])
    found = told.get("problems")
    if not isinstance(found, dict):
        return {"ready": str(told.get("message", f"/readyz says {response.status}"))}
    return {str(name): str(problem) for name, problem in found.items()}
