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

_LOOK_SECONDS, _LOOK_SECONDS_MAX = 2.0, 6.0
_WORTH_BYTES = 33_554_432
"""To look through the heap costs milliseconds of a core; less than this is not worth them."""
_STATM = Path("/proc/self/statm")


async def give_back() -> None:
    """While the process is larger than it was, until cancelled; where the C library can."""
    trim = _trim()
    if trim is None:
        return
    least, pause = _resident_bytes(), _LOOK_SECONDS
    while True:
        await asyncio.sleep(pause)
        resident = _resident_bytes()
        least = min(least, resident)
        if resident > least + _WORTH_BYTES:
            await asyncio.to_thread(trim, 0)
            # What could not be given back may be in use, and be free soon, or for ever.
            in_vain = resident - _resident_bytes() < _WORTH_BYTES // 4
            pause = min(2 * pause, _LOOK_SECONDS_MAX) if in_vain else _LOOK_SECONDS


def _trim() -> Callable[[int], int] | None:
    """glibc's; others, and other systems, have none, and some need none."""
    with suppress(AttributeError, OSError):
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
        return found if _STATM.exists() else None
    return None


def _resident_bytes() -> int:
    return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
