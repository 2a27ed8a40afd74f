"""Watcher of a folder for a run: hands the keys that the installation's folder watch tells of to a change feed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from lookout.app.installation import Change, FolderWatch
from lookout.runs.change_feed import ChangeSink
from lookout.sources.watch import Watch


@dataclass(frozen=True, kw_only=True)
class FolderWatcher:
    """See ``lookout.runs.change_feed.Watcher``. ``tell`` is told in words of trouble with the watch."""

    folder_watch: FolderWatch
    exclude: tuple[Path, ...]
    walk_every_s: float
    tell: Callable[[str], None]

    def __call__(self, root: Path, feed: ChangeSink, /) -> AbstractContextManager[Watch]:
        def on_change(change: Change) -> None:
            feed.put([change.key], there=not change.gone)

        return self.folder_watch(
            root, on_change, feed.lost, exclude=self.exclude, walk_every_s=self.walk_every_s, tell=self.tell
        )
