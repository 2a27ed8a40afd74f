"""What watchdog does not tell by itself: that events were lost, and that a folder could not be watched."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Final

from watchdog.observers.api import BaseObserver

LOGGER: Final = logging.getLogger("watchdog")


def new_observer() -> BaseObserver:
    """The observer of this system; where the system can tell, files moved in are told from files made here.

    Folders made one inside the other at once are watched twice by watchdog, which is harmless, and warned of, in one
    very long line each: these warnings are silenced. Raises OSError when the system gives no observer.
    """
    warnings.filterwarnings("ignore", message="Callback with id", category=RuntimeWarning, module=r"watchdog\.")
    if sys.platform == "linux":
        from watchdog.observers.inotify import InotifyObserver

        return InotifyObserver(generate_full_events=True)
    from watchdog.observers import Observer

    return Observer()


class OverflowListener(logging.Handler):
    """Listens to the log of watchdog: a line there is all that it makes of events that the system dropped."""

    def __init__(self, on_overflow: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._on_overflow = on_overflow

    def emit(self, record: logging.LogRecord) -> None:
        if "events were lost" in record.getMessage():
            self._on_overflow()


def count_watches() -> int | None:
    """How many inotify watches this process holds, or None where the system does not tell.

    watchdog passes over a subfolder for which the system gave no watch; only this count shows it.
    """
    total = 0
    try:
        for info in Path("/proc/self/fdinfo").iterdir():
            try:
                with info.open() as lines:
                    total += sum(line.startswith("inotify wd:") for line in lines)
            except (FileNotFoundError, ProcessLookupError):
                continue  # closed meanwhile
    except OSError:
        return None
    return total
