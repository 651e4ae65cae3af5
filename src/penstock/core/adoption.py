"""What others would print past our logger, as lines of it: structured, and bounded as all are.

Libraries log and warn, threads die, finalizers and the event loop meet exceptions that nobody is
there to catch. All of that goes to standard error in a form of its own, as often as it happens.
"""

import asyncio
import logging
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, TextIO

from penstock.core.telemetry import Logger

OURS = "penstock-"
"""So begin the names of our threads."""


def adopt(logger: Logger, died: Callable[[str], None] = lambda _: None) -> Callable[[], None]:
    """From now on, in the whole process; returns what puts everything back. For who serves: a
    command line says what it has to say itself.

    `died` gets the name of each of our own threads that an exception has ended.
    """
    handler, warn = _Library(logger), warnings.showwarning
    excepthook, ignored = threading.excepthook, sys.unraisablehook
    logging.getLogger().addHandler(handler)
    warnings.showwarning = partial(_warned, logger, warn)
    threading.excepthook = partial(_died, logger, died)
    sys.unraisablehook = partial(_ignored, logger)

    def undo() -> None:
        logging.getLogger().removeHandler(handler)
        warnings.showwarning = warn
        threading.excepthook, sys.unraisablehook = excepthook, ignored

    return undo


def loop_exception_handler(
    logger: Logger,
) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """What an event loop is to do with exceptions of callbacks, transports and lost tasks."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        del loop
        about = [
            f"{name} {_shown(value)}"
            for name, value in context.items()
            if name not in ("message", "exception", "source_traceback", "handle_traceback")
        ]
        logger.error(
            "loop.failed",
            message=context.get("message", ""),
            about=", ".join(about),
            exc_info=context.get("exception"),
        )

    return handle


class _Library(logging.Handler):
    """What a library logs as a warning or worse."""

    def __init__(self, logger: Logger) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception as error:  # noqa: BLE001 - its arguments do not fit, or cannot be shown
            message = f"{record.msg} ({type(error).__name__}: {error})"
        failed = record.exc_info if record.exc_info and record.exc_info[0] else None
        self._logger.log(
            logging.ERROR if record.levelno >= logging.ERROR else logging.WARNING,
            "library.logged",
            library=record.name,
            message=message,
            exc_info=failed,
        )


def _warned(  # noqa: PLR0917 - Python calls it so
    logger: Logger,
    otherwise: Callable[..., None],
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if file is not None:  # somebody wants it there
        otherwise(message, category, filename, lineno, file, line)
        return
    place = f"{filename}:{lineno}"
    logger.warning("library.warned", kind=category.__name__, message=str(message), place=place)


def _died(logger: Logger, died: Callable[[str], None], args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:
        return  # as Python has it: a thread may end this way
    name = args.thread.name if args.thread is not None else ""
    logger.error("thread.died", thread=name, exc_info=_raised(args))
    if name.startswith(OURS):
        died(name)


def _ignored(logger: Logger, args: "sys.UnraisableHookArgs") -> None:
    """An exception in a finalizer, say: there is nobody to raise it at."""
    logger.error(
        "exception.ignored",
        message=args.err_msg or "",
        about=_shown(args.object),
        exc_info=_raised(args),
    )


def _raised(args: Any) -> tuple[Any, Any, Any]:
    return args.exc_type, args.exc_value, args.exc_traceback


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - it may be half gone by now
        return f"<{type(value).__name__}>"
