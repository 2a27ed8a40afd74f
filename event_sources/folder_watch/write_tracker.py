"""Tracker of the files that are still being written, and of the time since the others were written last.

Times and states of paths only: knows no watchdog and no folder. One thread sleeps until the next path is due; nothing
is polled.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable


class Settling:
    """Tracker that calls ``on_due`` with a path once it has not changed for ``settle_s``, and ``on_check`` every
    ``check_s``.

    A path that was created or modified and is held open by somebody is not due before it is closed. Both functions are
    called in this object's own thread, without its lock. Every call costs the same, however many paths wait, but those
    on folders.
    """

    def __init__(
        self, on_due: Callable[[str], None], on_check: Callable[[], None], *, settle_s: float, check_s: float
    ) -> None:
        self._on_due = on_due
        self._on_check = on_check
        self._settle_s = settle_s
        self._check_s = check_s
        self._due_at_s: dict[str, float] = {}
        """Waiting paths by the monotonic clock, in the order in which they are due, as all wait equally long."""
        self._unclosed: set[str] = set()
        self._open: set[str] = set()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="settling", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what is still waiting is forgotten. A call of ``on_due`` under way is awaited."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def is_alive(self) -> bool:
        """Tell whether the thread lives."""
        return self._thread.is_alive()

    def is_waited_for(self, path: str) -> bool:
        """Tell whether the path is not due yet, or is held open by somebody who may have changed it."""
        with self._changed:
            return path in self._due_at_s or (path in self._open and path in self._unclosed)

    def opened(self, path: str) -> None:
        """Note that a process opened the file, to read or to write."""
        with self._changed:
            self._open.add(path)

    def closed(self, path: str, *, written: bool) -> None:
        """Note that a process closed the file: after writing, it is no longer waited for. A reader only ends the wait
        for its own close, so that who reads it all the time, as a walk may, does not put it off for ever."""
        with self._changed:
            self._open.discard(path)
            if written:
                self._due_at_s.pop(path, None)
                self._unclosed.discard(path)
            elif path in self._unclosed and path not in self._due_at_s:
                self._wait(path)

    def wait(self, path: str, *, unclosed: bool) -> None:
        """Begin to wait for the path, or begin anew. ``unclosed`` says that it may be closed after writing yet."""
        with self._changed:
            if unclosed:
                self._unclosed.add(path)
            else:
                self._unclosed.discard(path)
            self._wait(path)

    def is_being_written(self, path: str) -> bool:
        """Tell whether a process has the file open that may have created or changed it."""
        with self._changed:
            return path in self._open and path in self._unclosed

    def forget(self, path: str, *, and_below: bool = False) -> None:
        """The path is gone, or, with ``and_below``, a folder is."""
        with self._changed:
            for known in self._below(path) if and_below else (path,):
                self._due_at_s.pop(known, None)
                self._unclosed.discard(known)
                self._open.discard(known)

    def move(self, source: str, target: str, *, and_below: bool = False) -> None:
        """The path has another name now, or, with ``and_below``, a folder has. What waits begins anew."""
        with self._changed:
            for known in self._below(source) if and_below else (source,):
                name = target + known[len(source) :]
                for paths in (self._unclosed, self._open):
                    if known in paths:
                        paths.discard(known)
                        paths.add(name)
                if self._due_at_s.pop(known, None) is not None:
                    self._wait(name)

    def forget_who_is_open(self) -> None:
        """Note that events were lost, perhaps a close: the wait of all that waited for one begins anew."""
        with self._changed:
            self._open.clear()
            for path in self._unclosed - self._due_at_s.keys():
                self._wait(path)

    def _below(self, path: str) -> Iterable[str]:
        known = self._due_at_s.keys() | self._unclosed | self._open
        return [name for name in known if name.startswith(path + "/")]

    def _wait(self, path: str) -> None:
        self._due_at_s.pop(path, None)  # to the end of the order
        if not self._due_at_s:
            self._changed.notify()
        self._due_at_s[path] = time.monotonic() + self._settle_s

    def _run(self) -> None:
        check_at_s = time.monotonic() + self._check_s
        while True:
            with self._changed:
                if not self._stopped:
                    wake_at_s = min(check_at_s, next(iter(self._due_at_s.values()), check_at_s))
                    self._changed.wait(max(0.0, wake_at_s - time.monotonic()))
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
        for path, due_at_s in self._due_at_s.items():
            if due_at_s > now_s:
                break
            due.append(path)
        for path in due:
            del self._due_at_s[path]
        held = self._unclosed & self._open
        ready = [path for path in due if path not in held]  # the others are taken up again when they are closed
        self._unclosed.difference_update(ready)
        return ready
