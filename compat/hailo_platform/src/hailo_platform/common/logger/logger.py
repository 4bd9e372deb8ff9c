"""The logger "pyhailort": messages on standard output, and with time and place in ``./pyhailort.log``.

It is made when it is first asked for (pyhailort-api.md 22). A directory that cannot be written to only means that there
is no file.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

_NAME = "pyhailort"
_FILE_FORMAT = "%(asctime)s - %(levelname)s - %(filename)s:%(lineno)d - %(message)s"
_made: list[logging.Logger] = []


class _StandardOutput(logging.Handler):
    """Writes to what is standard output at that moment: programs may put something else there."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message."""
        with suppress(OSError, ValueError):
            print(self.format(record), file=sys.stdout, flush=True)


def _create_logger(
    level: int | str = "INFO", logger_path: str = "./pyhailort.log", fmt: str | None = None, console: bool = True
) -> logging.Logger:
    """Make a logger with up to two handlers."""
    made = logging.getLogger(_NAME)
    made.setLevel(level)
    made.propagate = False
    if console:
        handler = _StandardOutput()
        handler.setFormatter(logging.Formatter("%(message)s"))
        made.addHandler(handler)
    with suppress(OSError):
        file = logging.FileHandler(logger_path, delay=True)
        file.setFormatter(logging.Formatter(fmt or _FILE_FORMAT))
        made.addHandler(file)
    return made


def default_logger() -> logging.Logger:
    """Return the logger, made once."""
    if not _made:
        _made.append(_create_logger())
    return _made[0]
