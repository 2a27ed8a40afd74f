"""Watch on a folder: it reports which pictures have arrived or gone, as soon as each is whole.

The system says when a file that was written is closed or moved into place: then a picture is announced at once. Where
it cannot know (a hard link, a JPEG without its end, a name that is no picture's yet, a system without such events), a
file is announced when nobody changed it for a while. A file that was deleted is announced as gone when it has not come
back for as long, as some cameras delete before they upload. What a picture means is not known here, and nothing is
remembered: who is told compares with the ledger, and scans the folder for what happened while nobody watched.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileClosedNoWriteEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileOpenedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver

from event_sources.folder_watch.coverage import Coverage
from event_sources.folder_watch.observer import LOGGER, OverflowListener, is_alive, new_observer
from event_sources.folder_watch.write_tracker import Settling
from lookout.domain.errors import InputRejected, LookoutError, Unavailable
from lookout.sources.folder_keys import key_of, name_of, origin_of

_TAIL_BYTES: Final = 64 * 1024
_JPEG_END: Final = b"\xff\xd9"
_PICTURE_ENDINGS: Final = (".jpg", ".jpeg")
_EVENTS: Final[list[type[FileSystemEvent]]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileClosedNoWriteEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileOpenedEvent,
]
_MORE_WATCHES: Final = "raise fs.inotify.max_user_watches or max_user_instances with sysctl, or watch a smaller folder"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A file arrived or changed, or is gone. A key that ends with a slash is a folder with everything below it; only
    ``gone`` ones are announced like that."""

    key: str
    gone: bool


class FolderWatch(FileSystemEventHandler):
    """Watch a folder and all below it for the length of a ``with`` block.

    ``on_change`` is told of each change. ``on_lost`` is told with InputRejected that the folder itself is gone and
    nothing more will come, or with Unavailable that changes may have been missed: the system dropped events (then every
    file that is there is announced again), or gives no watch for some of the folders below (``unwatched``). Both are
    called in threads of the watch, one call at a time, and must not raise; while one runs, the next events wait.
    Without ``on_lost`` the error is raised at the end of the block. A change may be announced twice, and a file may
    have changed again when it is read.

    Names and folders that begin with a dot and the folders ``exclude`` are left alone; links to folders are not
    followed. ``settle_s`` is how long a file must be left alone when its end cannot be known, and how long a deleted
    one must stay away; ``check_s`` how often the folder is looked at to see that it is still the same one, and that
    all below is watched.

    Entering raises InputRejected when the folder is missing or the system gives no watch for it. Files that are there
    already are not announced: scan after entering, and now and then, as no system tells of everything.
    """

    def __init__(
        self,
        root: Path,
        on_change: Callable[[Change], None],
        *,
        on_lost: Callable[[LookoutError], None] | None = None,
        settle_s: float = 2.0,
        check_s: float = 5.0,
        exclude: Sequence[Path] = (),
    ) -> None:
        self._root = os.path.realpath(root)
        self._named = origin_of(root)
        self._excluded = tuple(os.path.realpath(path) for path in exclude)
        self._on_change = on_change
        self._on_lost = on_lost
        self._one_call = threading.RLock()
        self._lost: LookoutError | None = None
        self.identity: tuple[int, int] | None = None
        self._coverage = Coverage(self._root, self._is_excluded)
        self._settling = Settling(self._settled, self._check, settle_s=settle_s, check_s=check_s)
        self._observer: BaseObserver | None = None
        self._overflow = OverflowListener(self._overflowed)

    def __enter__(self) -> Self:
        self.identity = _find_identity(self._root)
        if self.identity is None:
            raise InputRejected("no such folder to watch", self._named, "check the name, and that its disk is mounted")
        if not Path(self._root).is_dir():
            raise InputRejected("expected a folder to watch, got a file", self._named)
        LOGGER.addHandler(self._overflow)
        try:
            self._observer = new_observer()
            self._observer.schedule(self, self._root, recursive=True, event_filter=_EVENTS)
            self._observer.start()
        except OSError as error:
            self._stop()
            hint = _MORE_WATCHES if error.errno in (errno.ENOSPC, errno.EMFILE) else ""
            raise InputRejected(f"the folder cannot be watched: {error.strerror}", self._named, hint) from error
        self._coverage.begin(self.identity[1])
        self._settling.start()
        self._check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        if self._lost is not None and self._on_lost is None and error is None:
            raise self._lost

    def _stop(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            if self._observer.is_alive():
                self._observer.join()
        self._settling.stop()
        LOGGER.removeHandler(self._overflow)

    # --- from any thread ---------------------------------------------------------------------------------------------

    def find_fault(self) -> str | None:
        """Name what is broken, so that no events come any more; None when nothing is, or when the loss was told."""
        with self._one_call:
            if isinstance(self._lost, InputRejected):
                return None
        if self._observer is None or not is_alive(self._observer) or not self._settling.is_alive():
            return "a thread of the watch has died"
        return None if self._coverage.has_root() else "the system watches the folder no more"

    @property
    def unwatched(self) -> int:
        """Folders below for which the system gives no watch."""
        return self._coverage.unwatched

    def is_waited_for(self, key: str) -> bool:
        """Tell whether the file is known to be changing, and will be announced when it is whole."""
        return self._settling.is_waited_for(f"{self._root}/{name_of(self._root, key)}")

    # --- what watchdog says, in its thread ---------------------------------------------------------------------------

    def dispatch(self, event: FileSystemEvent) -> None:
        """Take one event. Those that watchdog makes up itself, below a moved folder, are found by walking it."""
        if not event.is_synthetic:
            super().dispatch(event)

    def on_opened(self, event: FileSystemEvent) -> None:
        self._settling.opened(_text(event.src_path))

    def on_closed(self, event: FileSystemEvent) -> None:
        path = _text(event.src_path)
        self._settling.closed(path, written=True)
        self._arrived(path)

    def on_closed_no_write(self, event: FileSystemEvent) -> None:
        self._settling.closed(_text(event.src_path), written=False)

    def on_created(self, event: FileSystemEvent) -> None:
        path = _text(event.src_path)
        if event.is_directory:
            self._coverage.moved()
            # Files may have been made in it before it was watched; whether they are closed is not known.
            for below in self._files(path):
                self._settling.wait(below, unclosed=True)
        else:
            self._settling.wait(path, unclosed=True)

    def on_modified(self, event: FileSystemEvent) -> None:
        if not event.is_directory:
            self._settling.wait(_text(event.src_path), unclosed=True)

    def on_moved(self, event: FileSystemEvent) -> None:
        source, target = _text(event.src_path), _text(event.dest_path)
        if event.is_directory:
            self._coverage.moved()
        if source and target:
            self._settling.move(source, target, and_below=event.is_directory)
        if source:
            self._gone(source, is_folder=event.is_directory)
        if target:
            for path in self._files(target) if event.is_directory else (target,):
                self._arrived(path)

    def on_deleted(self, event: FileSystemEvent) -> None:
        path = _text(event.src_path)
        if event.is_directory:
            self._coverage.moved()
        if path == self._root:
            self._check_root()
        elif event.is_directory:
            self._gone(path, is_folder=True)
        else:
            # Some cameras delete before they upload: it may be there again in a moment.
            self._settling.forget(path)
            self._settling.wait(path, unclosed=False)

    # --- what is made of it ------------------------------------------------------------------------------------------

    def _arrived(self, path: str) -> None:
        """A file was closed or moved into place: announce it if it looks whole, else wait until it is left alone."""
        if self._settling.is_being_written(path) or self._find_key(path) is None:
            return
        if path.lower().endswith(_PICTURE_ENDINGS) and _has_jpeg_end(path):
            self._settling.forget(path)
            self._announce(path)
        else:
            self._settling.wait(path, unclosed=False)

    def _settled(self, path: str) -> None:
        if path == self._root:
            self._look_at_all()
        elif _is_nothing(path):
            self._gone(path, is_folder=False)
        else:
            self._announce(path)

    def _announce(self, path: str) -> None:
        key = self._find_key(path)
        if key is not None and _is_file(path):
            self._tell(Change(key=key, gone=False))

    def _gone(self, path: str, *, is_folder: bool) -> None:
        self._settling.forget(path, and_below=is_folder)
        key = self._find_key(path)
        if key is not None:
            self._tell(Change(key=key + "/" if is_folder else key, gone=True))

    def _tell(self, change: Change) -> None:
        with self._one_call:
            if not isinstance(self._lost, InputRejected):
                self._on_change(change)

    def _check(self) -> None:
        self._check_root()
        if self._coverage.check():
            what = f"{self.unwatched} of its folders cannot be watched ({_MORE_WATCHES})"
            self._lose(Unavailable(self._named, what))

    def _check_root(self) -> None:
        if _find_identity(self._root) != self.identity:
            self._lose(InputRejected("the watched folder was removed, moved or unmounted", self._named))

    def _overflowed(self) -> None:
        """Wait until the storm is over, by waiting for the folder itself. The thread that says so must not be held."""
        self._settling.forget_who_is_open()
        self._settling.wait(self._root, unclosed=False)

    def _look_at_all(self) -> None:
        self._lose(Unavailable(self._named, "the system dropped events: there were more than its queue holds"))
        for path in self._files(self._root):
            self._arrived(path)

    def _lose(self, error: LookoutError) -> None:
        with self._one_call:
            if isinstance(self._lost, InputRejected):
                return  # said already, for good
            self._lost = error
            if self._on_lost is not None:
                self._on_lost(error)

    # --- paths -------------------------------------------------------------------------------------------------------

    def _find_key(self, path: str) -> str | None:
        """Return the key of a path below the folder, or None for what is left alone."""
        if not path.startswith(self._root + "/") or self._is_excluded(path):
            return None
        name = path[len(self._root) + 1 :]
        return None if name.startswith(".") or "/." in name else key_of(name)

    def _is_excluded(self, path: str) -> bool:
        return any(path == folder or path.startswith(folder + "/") for folder in self._excluded)

    def _files(self, top: str) -> Iterator[str]:
        for folder, names, files in os.walk(top):
            names[:] = [name for name in names if not name.startswith(".")]
            yield from (f"{folder}/{name}" for name in files)


def _text(path: bytes | str) -> str:
    return os.fsdecode(path)


def _find_identity(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None  # not there, or not to be looked at: no identity to compare
    return found.st_dev, found.st_ino


def _is_file(path: str) -> bool:
    """Tell whether an input can be there; a dangling link counts, so that reading it reports the defect."""
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except OSError:
        return Path(path).is_symlink()


def _is_nothing(path: str) -> bool:
    """Tell whether no file of any kind is there."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False  # not to be looked at: whoever reads it says why
    return False


def _has_jpeg_end(path: str) -> bool:
    """Tell whether the marker that ends a JPEG is near the file's end; some cameras write more after it."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return False  # a link or a device: whoever reads it looks where it leads
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            start = max(0, os.fstat(fd).st_size - _TAIL_BYTES)
            return _JPEG_END in os.pread(fd, _TAIL_BYTES, start)
        finally:
            os.close(fd)
    except OSError:
        return False  # gone again, or unreadable: waiting tells which
