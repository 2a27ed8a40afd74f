"""Logs as fields, not sentences: ``log.info("committed", datum=..., elapsed_s=...)`` becomes one logfmt line.

A thin layer over the standard library's logging, so that whoever embeds Lookout configures it as usual.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Final, TextIO

ROOT: Final = "lookout"


class FieldLogger:
    """A named logger whose calls take an event and fields."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, **fields: object) -> None:
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._log(logging.ERROR, event, fields)

    def _log(self, level: int, event: str, fields: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", logfmt(event, fields))


def logfmt(event: str, fields: dict[str, object]) -> str:
    """Format one line: the event, then ``name=value`` with quotes where a value needs them. Never more than one
    line."""
    return " ".join([_value(event), *(f"{name}={_value(value)}" for name, value in fields.items())])


def _value(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    plain = text.isprintable() and text and not set(text) & set(' "=')
    return text if plain else json.dumps(text)


def get_logger(name: str) -> FieldLogger:
    """Return the logger of a module: pass ``__name__``."""
    return FieldLogger(logging.getLogger(name if name.startswith(ROOT) else f"{ROOT}.{name}"))


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send Lookout's logs to the stream, stderr unless told. Called by entry points only. Raises ValueError for an
    unknown level."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logger = logging.getLogger(ROOT)
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
