"""Memory that was freed goes back to the machine.

The C library keeps freed pieces that lie between others, for it may need them again; after a minute
of large bodies a process would seem to hold for good what it has long let go.
"""

import asyncio
import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_LOOK_SECONDS = 2.0
_WORTH_BYTES = 33_554_432
"""To look through the heap costs milliseconds of a core; less than this is not worth them."""
_STATM = Path("/proc/self/statm")


async def give_back() -> None:
    """Whenever the process has grown, until cancelled; where the C library can."""
    trim = _trim()
    if trim is None:
        return
    least = _resident_bytes()
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        resident = _resident_bytes()
        if resident > least + _WORTH_BYTES:
            await asyncio.to_thread(trim, 0)
            least = _resident_bytes()
        least = min(least, resident)


def _trim() -> Callable[[int], int] | None:
    """glibc's; others, and other systems, have none, and some need none."""
    with suppress(AttributeError, OSError):
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
        return found if _STATM.exists() else None
    return None


def _resident_bytes() -> int:
    return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
