"""Boundaries between two writes of this process: file operations and SQL statements, counted, and kill -9 at one."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Callable

FILE_EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate"}


def kill_at(boundary: int | None) -> Callable[[], int]:
    """Have this process kill itself at that boundary, if one is given; gives the function that counts them."""
    passed = 0

    def step() -> None:
        nonlocal passed
        passed += 1
        if passed == boundary:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_event(event: str, args: tuple[object, ...]) -> None:
        writing = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if event in FILE_EVENTS or writing:
            step()

    class Traced(sqlite3.Connection):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]
            self.set_trace_callback(lambda sql: None if sql.startswith("SELECT") else step())

    connect = sqlite3.connect
    sqlite3.connect = lambda *args, **kwargs: connect(*args, **{**kwargs, "factory": Traced})  # type: ignore[assignment]
    sys.addaudithook(on_event)
    return lambda: passed
