"""Which files are still being written, and for how long the others have been left alone.

Times and states of paths only: knows no watchdog and no folder. One thread sleeps until the next path is due; nothing
is polled.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class _Waiting:
    due_at_s: float
    unclosed: bool


class Settling:
    """Calls ``on_due`` with a path once it has not changed for ``settle_s``, and ``on_check`` every ``check_s``.

    A path that was created or modified and is held open by somebody is not due before it is closed. Both functions are
    called in this object's own thread, without its lock. Times are of the monotonic clock.
    """

    def __init__(
        self, on_due: Callable[[str], None], on_check: Callable[[], None], *, settle_s: float, check_s: float
    ) -> None:
        self._on_due = on_due
        self._on_check = on_check
        self._settle_s = settle_s
        self._check_s = check_s
        self._waiting: dict[str, _Waiting] = {}
        self._open: set[str] = set()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="settling", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what is still waiting is forgotten."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def opened(self, path: str) -> None:
        with self._changed:
            self._open.add(path)

    def closed(self, path: str, *, written: bool) -> None:
        """Somebody closed the file: after writing, it is no longer waited for; else its time begins anew."""
        with self._changed:
            self._open.discard(path)
            if written:
                self._waiting.pop(path, None)
            elif path in self._waiting:
                self._wait(path, unclosed=self._waiting[path].unclosed)

    def wait(self, path: str, *, unclosed: bool) -> None:
        """Begin to wait for the path, or begin anew. ``unclosed`` says that a close after writing is expected."""
        with self._changed:
            self._wait(path, unclosed=unclosed)

    def is_being_written(self, path: str) -> bool:
        """Whether somebody has the file open who created or changed it."""
        with self._changed:
            found = self._waiting.get(path)
            return path in self._open and found is not None and found.unclosed

    def forget(self, path: str) -> None:
        """The path is gone, and all below it."""
        with self._changed:
            for known in self._below(path):
                self._open.discard(known)
                self._waiting.pop(known, None)

    def move(self, source: str, target: str) -> None:
        """The path, and all below it, has another name now."""
        with self._changed:
            for known in self._below(source):
                name = target + known[len(source) :]
                if known in self._open:
                    self._open.discard(known)
                    self._open.add(name)
                found = self._waiting.pop(known, None)
                if found is not None:
                    self._waiting[name] = found
            self._changed.notify()

    def forget_who_is_open(self) -> None:
        """Events were lost, so a close may have been: whatever waits for one is given its time anew."""
        with self._changed:
            self._open.clear()
            for path, found in list(self._waiting.items()):
                self._wait(path, unclosed=found.unclosed)

    def _below(self, path: str) -> list[str]:
        known = self._waiting.keys() | self._open
        return [name for name in known if name == path or name.startswith(path + "/")]

    def _wait(self, path: str, *, unclosed: bool) -> None:
        self._waiting[path] = _Waiting(time.monotonic() + self._settle_s, unclosed)
        self._changed.notify()

    def _run(self) -> None:
        check_at_s = time.monotonic() + self._check_s
        while True:
            with self._changed:
                if self._stopped:
                    return
                next_at_s = min((found.due_at_s for found in self._waiting.values()), default=math.inf)
                self._changed.wait(max(0.0, min(next_at_s, check_at_s) - time.monotonic()))
                if self._stopped:
                    return
                now_s = time.monotonic()
                due = self._take_due(now_s)
            for path in due:
                self._on_due(path)
            if now_s >= check_at_s:
                self._on_check()
                check_at_s = time.monotonic() + self._check_s

    def _take_due(self, now_s: float) -> list[str]:
        due = []
        for path, found in list(self._waiting.items()):
            if found.due_at_s > now_s:
                continue
            if found.unclosed and path in self._open:
                found.due_at_s = math.inf  # until it is closed
            else:
                del self._waiting[path]
                due.append(path)
        return due
