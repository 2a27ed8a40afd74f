"""Continuous upload of a folder to a bucket, which survives outages and errors.

While the server takes no files, one upload is retried with a back-off that grows to ``MAX_PAUSE_S``. A file that fails
alone has a back-off of its own, and others pass it. A file that cannot be uploaded at all is reported once and left
until it changes. Nothing is ever removed from the bucket.

Knows no store, no way to watch and no terminal: these are passed in. ``work_queue.py`` holds the files to read next,
``sent_log.py`` those that were uploaded; ``upload.py`` uploads one file whole or not at all.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from lookout.domain.errors import LookoutError, Unavailable
from lookout.filesystem.beneath import Root
from lookout.filesystem.files import fingerprint_of
from lookout.sources.folder_keys import name_of
from lookout.sources.folder_walk import Walk, open_root
from lookout.sources.watch import Watch
from lookout.uploader.sent_log import Kept, Memory
from lookout.uploader.upload import Became, File, Lost, Sent
from lookout.uploader.work_queue import MOST, Item, Todo

MAX_PAUSE_S: Final = 30.0
KEEP_S: Final = 30 * 24 * 3600.0
"""Time for which the log keeps a file that is gone from the folder: its disk may only be unmounted."""
_END_S: Final = 1.0
_LONGEST_WAIT_S: Final = 1.0


class Send(Protocol):
    """Upload of one file, given the digest that is known to be under its key; see ``upload.Sender``. Called by several
    threads at once."""

    def __call__(self, file: File, known_sha256: str | None, /) -> Sent | Lost: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    file: File
    known_sha256: str | None
    mark: str
    tries: int
    pause: int
    """The number of the last pause before it was given out."""


@dataclass(kw_only=True)
class Counts:
    """Counts of files. ``skipped`` were in the bucket already, ``gone`` disappeared before they could be sent."""

    uploaded: int = 0
    skipped: int = 0
    failed: int = 0
    gone: int = 0
    sent_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Options of a FolderSync. ``prefix`` begins all keys; ``workers`` files are sent at once; ``exclude`` are folders
    to leave out. ``settle_s`` is the time for which a file of which no event told must have been left alone,
    ``first_pause_s`` the pause after a first failure, ``walk_every_s`` the time between two walks through the
    folder."""

    prefix: str = ""
    workers: int = 4
    exclude: tuple[Path, ...] = ()
    settle_s: float = 2.0
    first_pause_s: float = 1.0
    walk_every_s: float = 600.0


class FolderSync:
    """Upload of the files below ``root``.

    ``tell`` is told of each file that was sent, failed, or went away before; ``tell_trouble`` of trouble, with the
    pause in seconds that is made for it, and with None when the server takes files again. ``on_turn`` is called with
    each turn of the loop, each second or so, in the loop's thread.

    ``run`` does all but the sending in the thread that calls it. ``changed``, ``end`` and ``stop`` may
    be called from any thread, ``stop`` from a signal's handler too.
    """

    def __init__(
        self,
        root: Path,
        send: Send,
        memory: Memory,
        options: Options,
        *,
        tell: Callable[[Sent], None],
        tell_trouble: Callable[[LookoutError | None, float], None],
        on_turn: Callable[[], None] = lambda: None,
    ) -> None:
        self._root, self._send, self._memory, self._options = root, send, memory, options
        self._tell, self._tell_trouble, self._on_turn = tell, tell_trouble, on_turn
        self.counts = Counts()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._inbox: SimpleQueue[tuple[_Job, Sent | Lost | BaseException] | None] = SimpleQueue()
        self._todo = Todo(self._walk, self._wake, walk_every_s=options.walk_every_s)
        self._out: dict[str, bool] = {}
        """Files that are being sent, and whether they changed meanwhile."""
        self._left: dict[str, str] = {}
        """Files that cannot be brought, by the fingerprint that they had."""
        self._pauses, self._pauses_in_a_row, self._resume_at_s = 0, 0, 0.0
        self._forgot = False
        self._watch: Watch | None = None
        self._walks = self._missed = 0
        self._is_walk_asked = True  # one is begun at first
        self._stopped = False
        self._error: LookoutError | None = None

    # --- from any thread --------------------------------------------------------------------------------------------

    def changed(self, name: str) -> None:
        """A file, by its key below the folder, has arrived or changed, and is whole."""
        self._todo.add(name)

    def look_after(self, watch: Watch) -> None:
        """Have ``run`` look after the watch, which then says when to walk."""
        self._watch = watch

    def end(self, error: LookoutError) -> None:
        """Have ``run`` raise this error."""
        self._error = error
        self.stop()

    def stop(self) -> None:
        """Have ``run`` end."""
        self._stopped = True
        self._wake()

    def _wake(self) -> None:
        self._inbox.put(None)

    # --- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until stopped. What is being sent then has a second to end. Nothing is lost with what does not: the
        server has a file whole or not at all, and the next start looks at all."""
        for number in range(self._options.workers):
            # Daemons: one may be waiting for a server that does not answer when the process is to end.
            threading.Thread(target=self._work, name=f"bring-{number}", daemon=True).start()
        try:
            while not self._stopped:
                self._look_after()
                self._take(self._give_work())
                self._on_turn()
            end_s = time.monotonic() + _END_S
            while self._out and time.monotonic() < end_s:
                self._take(end_s)
        finally:
            for _ in range(self._options.workers):
                self._jobs.put(None)
        if self._error is not None:
            raise self._error

    def _look_after(self) -> None:
        """Walk when the watch says so, and tell it what the walk found that no event had told of."""
        if self._watch is None:
            return
        if self._todo.walks > self._walks:
            missed = self._missed if self._walks else 0  # the first finds what was there before
            self._walks, self._missed, self._is_walk_asked = self._todo.walks, 0, False
            self._watch.walked(missed, 0.0)
        if self._watch.check() and not self._is_walk_asked:
            self._is_walk_asked = True
            self._todo.walk_again()

    @property
    def waiting(self) -> int:
        """Return the number of files that are known to be still to do; a walk may find more."""
        return len(self._todo) + len(self._out)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            said: Sent | Lost | BaseException
            try:
                said = self._send(job.file, job.known_sha256)
            except BaseException as error:  # noqa: BLE001 it is raised in the thread of ``run``
                said = error
            self._inbox.put((job, said))

    def _allowed(self) -> int:
        """Return how many uploads may run now: one, where the server's health is to be tried."""
        if not self._pauses_in_a_row:
            return self._options.workers
        return int(time.monotonic() >= self._resume_at_s)

    def _give_work(self) -> float | None:
        """Give out what may be on its way now; says when to look again, if nothing comes before."""
        while not self._stopped and len(self._out) < self._allowed():
            item = self._todo.next(time.monotonic())
            if item is None:
                self._forget_once()
                return self._todo.next_due_s()
            job = self._job(item)
            if job is not None:
                self._out[item.name] = False
                self._jobs.put(job)
        return None if self._out else self._resume_at_s

    def _take(self, until_s: float | None) -> None:
        """Take a result, or be woken, or let the time come; for a second at most, as a signal that comes between
        Python's last look for signals and the waiting wakes nobody."""
        wait_s = _LONGEST_WAIT_S if until_s is None else min(_LONGEST_WAIT_S, until_s - time.monotonic())
        try:
            said = self._inbox.get(timeout=max(0.0, wait_s))
        except Empty:
            return
        if said is not None:
            self._settle(*said)

    # --- what is to be done with a file ------------------------------------------------------------------------------

    def _job(self, item: Item) -> _Job | None:
        """None if nothing is to be done with it now."""
        if item.name in self._out:
            self._out[item.name] = True
            return None
        file = File(root=self._root, name=item.name, key=self._options.prefix + item.name)
        found = self._find(item.name)
        mark = "" if found is None else fingerprint_of(found)
        kept = self._memory.find(file.key)
        if kept is not None and mark and kept.fingerprint == mark:
            self.counts.skipped += not item.whole and not self._todo.walks
            return None
        if self._left.get(item.name) == mark:
            return None
        if found is not None and not item.whole and item.mark != mark and self._is_fresh(found):
            seen = Item(name=item.name, tries=item.tries, whole=False, mark=mark)
            self._todo.add_later(seen, time.monotonic() + self._options.settle_s)
            return None
        # What was tried before, or was just being written, is no news of a walk's.
        self._missed += not (item.whole or item.mark or found is None or len(self._todo))
        known = None if kept is None else kept.sha256
        return _Job(file=file, known_sha256=known, mark=mark, tries=item.tries, pause=self._pauses)

    def _is_fresh(self, found: os.stat_result) -> bool:
        """Tell whether the file may still be written: then two looks at it are compared, as no clock need be right."""
        return time.time() - max(found.st_mtime, found.st_ctime) < self._options.settle_s

    def _find(self, name: str) -> os.stat_result | None:
        try:
            with Root(str(self._root)) as opened:
                return opened.stat(name_of(str(self._root), name))
        except OSError:
            return None  # whoever reads it says in words what is wrong

    def _forget_once(self) -> None:
        """After the first walk: forget what was brought long ago and is not in the folder any more."""
        if self._todo.walks and not self._forgot:
            self._forgot = True
            self._memory.forget(
                time.time() - KEEP_S, lambda key: self._find(key.removeprefix(self._options.prefix)) is not None
            )

    def _walk(self) -> Iterator[str]:
        """Give the keys of all files of the folder. What cannot be listed is trouble that is told, and walked through
        the next time."""
        try:
            with open_root(str(self._root)) as opened:
                walk = Walk(opened, self._options.exclude)
                for name, _ in walk.files():
                    yield name
        except LookoutError as error:
            self._tell_trouble(error, 0.0)
            return
        for name, why in walk.unlistable.items():
            if name not in walk.vanished:  # gone meanwhile, with all that was in it
                self._tell_trouble(Unavailable(f"{self._root}/{name}", f"cannot be listed: {why}"), 0.0)

    # --- what became of it -------------------------------------------------------------------------------------------

    def _settle(self, job: _Job, said: Sent | Lost | BaseException) -> None:
        changed = self._out.pop(job.file.name)
        if isinstance(said, BaseException):
            raise said
        if isinstance(said, Lost):
            self._lost(job, said.error)
        else:
            self._sent(job, said)
        if changed:
            self._todo.add(job.file.name)

    def _lost(self, job: _Job, error: Unavailable) -> None:
        self._try_again(job)
        if job.pause == self._pauses:  # of several that were on their way at once, one makes a pause
            self._pauses += 1
            self._pauses_in_a_row += 1
            pause_s = self._pause_s(self._pauses_in_a_row) * random.uniform(0.8, 1.0)  # noqa: S311 not all devices at once
            self._resume_at_s = time.monotonic() + pause_s
            self._tell_trouble(error, pause_s)

    def _sent(self, job: _Job, sent: Sent) -> None:
        counts, key = self.counts, job.file.key
        if sent.ref is not None:
            if sent.ref.version is not None and self._pauses_in_a_row:
                self._pauses_in_a_row = 0
                self._tell_trouble(None, 0.0)
            self._memory.keep(key, Kept(fingerprint=sent.fingerprint, sha256=sent.ref.sha256), time.time())
        if sent.became is Became.BUSY:
            self._try_again(job)
        elif sent.became is Became.THERE:
            counts.skipped += 1
        elif sent.became is Became.NEW and sent.ref is not None:
            counts.uploaded += 1
            counts.sent_bytes += sent.ref.size
            self._tell(sent)
        elif sent.became is Became.GONE:
            counts.gone += 1
            self._tell(sent)
        else:
            counts.failed += 1
            self._leave(job)
            self._tell(sent)

    def _try_again(self, job: _Job) -> None:
        tries = job.tries + 1
        self._todo.add_later(Item(name=job.file.name, tries=tries), time.monotonic() + self._pause_s(tries))

    def _leave(self, job: _Job) -> None:
        if len(self._left) >= MOST:
            del self._left[next(iter(self._left))]
        self._left[job.file.name] = job.mark

    def _pause_s(self, number: int) -> float:
        """Return the back-off after so many failures in a row."""
        return min(MAX_PAUSE_S, self._options.first_pause_s * 2.0 ** min(number - 1, 16))
