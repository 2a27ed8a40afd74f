"""Installation: the pipeline, the channels and the folder watch that an entry point puts together.

``lookout`` imports no stage and no event source. What is heavy is named as ``module:function`` and loaded when it is
needed, as the pipeline does with its stages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from lookout.domain.errors import LookoutError
from lookout.domain.pipeline import Pipeline, load
from lookout.sources.watch import Watch


class Change(Protocol):
    """File below a watched folder that arrived, changed or is gone. A key that ends with a slash is a folder that is
    gone, with everything below it."""

    @property
    def key(self) -> str:
        """The path below the folder."""

    @property
    def gone(self) -> bool:
        """True if nothing is there any more."""


class FolderWatch(Protocol):
    """Watch on a folder: see ``event_sources.folder_watch`` for its contract."""

    def __call__(
        self,
        root: Path,
        on_change: Callable[[Change], None],
        on_lost: Callable[[LookoutError], None],
        *,
        exclude: Sequence[Path],
        walk_every_s: float,
        tell: Callable[[str], None],
    ) -> AbstractContextManager[Watch]: ...


class PictureName(Protocol):
    """Parts of a picture's key by which datums are chosen."""

    @property
    def captured_at_s(self) -> float:
        """The time at which it was taken, in Unix seconds."""


@dataclass(frozen=True, kw_only=True)
class Installation:
    """Parts of the product. ``sendgrid`` makes the channel of a key and a host, ``check_host`` refuses a host with
    InputRejected, ``mail_folder`` makes the channel of a folder, ``folder_watch`` is a ``FolderWatch``. ``find_name``
    reads a picture's key; None if it names no time."""

    pipeline: Pipeline
    sendgrid: str
    check_host: str
    mail_folder: str
    folder_watch: str
    find_name: Callable[[str], PictureName | None]

    @property
    def buckets(self) -> list[str]:
        """All buckets of the pipeline: of pictures, of references, of each stage's results."""
        return [self.pipeline.inputs, *self.references, *(stage.name for stage in self.pipeline.stages)]

    @property
    def references(self) -> list[str]:
        """The buckets of references."""
        return [stage.references.bucket for stage in self.pipeline.stages if stage.references is not None]

    @property
    def readers(self) -> tuple[str, ...]:
        """The names of the stages that read pictures."""
        return tuple(stage.name for stage in self.pipeline.readers(self.pipeline.inputs))

    def load_folder_watch(self) -> FolderWatch:
        """Load the watch on a folder; what it needs is loaded now."""
        return cast(FolderWatch, load(self.folder_watch))
