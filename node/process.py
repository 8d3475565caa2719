"""What every process of a node does alike: human log lines, exit codes, and ending together with its parent."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, TextIO

import structlog
from structlog.typing import ExcInfo

from engine.errors import EngineError

PARENT_GONE = 3
_ENDING = (signal.SIGINT, signal.SIGTERM)


def logger(name: str) -> Any:
    """Return a logger whose lines on standard error begin with the time and end with this name."""

    def write_defect(out: TextIO, what: ExcInfo) -> None:
        out.write("\n" + defect(what[1]))

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0, exception_formatter=write_defect),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    return structlog.get_logger(node=name)


def defect(error: BaseException | None) -> str:
    """Return where an error arose and of which class it is, its causes first.

    Neither its text nor any variable: they may hold rows or keys, which belong in no log.
    """
    steps: list[str] = []
    while error is not None:
        steps.insert(0, "".join(traceback.format_tb(error.__traceback__)) + type(error).__name__)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\nwhich led to\n".join(steps)


def run(serve: Callable[[], Awaitable[None]]) -> int:
    """Run an asyncio service until it ends or a signal asks it to; return the exit code.

    0 after a signal; 2, with the sentence on standard error, for an error of the engine: somebody must change something
    before it can work.
    """

    async def until_signalled() -> None:
        task = asyncio.ensure_future(serve())
        for number in _ENDING:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await task

    try:
        asyncio.run(until_signalled())
    except asyncio.CancelledError:
        return 0
    except EngineError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def end_with_stdin() -> None:
    """End this process at once when the one that started it closes its standard input or dies."""

    def wait() -> None:
        while os.read(0, 4096):  # the file itself: a buffered reader's lock would be in the way of an orderly end
            pass
        os._exit(PARENT_GONE)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
