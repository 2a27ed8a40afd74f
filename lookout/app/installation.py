"""Installation: the pipeline, the channels and the folder watch that an entry point puts together.

``lookout`` imports no stage and no event source. What is heavy is named as ``module:function`` and loaded when it is
needed, as the pipeline does with its stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, cast

from lookout.config.settings import Settings
from lookout.domain.errors import LookoutError
from lookout.domain.pipeline import Pipeline, load
from lookout.domain.records import JsonObject
from lookout.ledger.port import Ledger
from lookout.object_store.port import ObjectReader
from lookout.outbox.channel import Channel, Letter
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


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialOf:
    """Circumstances under which rules are tried on photographs: device and time where they are not those of a photo's
    name, and the detection threshold, by default the model's."""

    device: str | None = None
    at_s: float | None = None
    threshold: float | None = None


class RuleTools(Protocol):
    """Commands on rule files: see ``stages.rule_tools`` for their contract."""

    def check(self, path: Path) -> Iterator[JsonObject]: ...

    def simulate(
        self, rules: Path, events: Path, threshold: float, note: Callable[[str], None]
    ) -> Iterator[JsonObject]: ...

    def schema(self) -> str: ...

    def try_photos(
        self, rules: Path, model: Path, photos: Sequence[Path], at: TrialOf, folder: Path | None
    ) -> Iterator[JsonObject]: ...


class Channels(Protocol):
    """Channels by which alerts leave: see ``stages.threat_detect.channels.opening`` for their contract."""

    def open(self, name: str, settings: Settings, folder: Path | None) -> Channel: ...

    def check_mail(self, settings: Settings) -> None: ...

    def find_names(self, settings: Settings) -> list[str]: ...

    def sample(self, name: str, now_s: float, sender: str, recipient: str) -> Letter: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """Facts about an export that a person gives; None where it is to say them itself. ``labels`` is a file with one a
    line, or ``coco``; ``pixels`` is ``0-255``, ``0-1`` or ``imagenet``."""

    labels: str | None = None
    color: str | None = None
    pixels: str | None = None
    resize: str | None = None
    size_px: tuple[int, int] | None = None
    name: str | None = None
    license: str | None = None
    source: str | None = None


class ModelTools(Protocol):
    """Commands on models: see ``stages.model_tools`` for their contract."""

    def draft(self, file: Path, facts: ModelFacts) -> JsonObject: ...

    def write(self, file: Path, document: JsonObject, *, force: bool) -> Path: ...

    def check(
        self, model: Path, photo: Path | None, threshold: float | None, passes: str | None, to: Path | None
    ) -> JsonObject: ...


class Explainer(Protocol):
    """Explanations of pictures: see ``stages.threat_detect.explain.explainer`` for their contract."""

    def photo(self, key: str, rule: str | None = None) -> JsonObject: ...

    def of_alert(self, start: str) -> JsonObject: ...

    def drawn(self, key: str, rule: str | None = None) -> bytes: ...

    def of_device(
        self, device: str, since_s: float | None, until_s: float | None, rule: str | None = None
    ) -> Iterator[JsonObject]: ...


class Replayer(Protocol):
    """Replays of decisions: see ``stages.threat_detect.replay.replayer`` for their contract."""

    def replay(
        self, rules: Path | None, since_s: float | None, until_s: float | None, device: str | None
    ) -> Iterator[JsonObject]: ...

    def page(self, days: Sequence[JsonObject], differing: Sequence[JsonObject]) -> bytes: ...

    def check(self) -> JsonObject: ...


class PictureName(Protocol):
    """Parts of a picture's key by which datums are chosen."""

    @property
    def captured_at_s(self) -> float:
        """The time at which it was taken, in Unix seconds."""


@dataclass(frozen=True, kw_only=True)
class Installation:
    """Parts of the product. ``channels`` makes ``Channels``, ``folder_watch`` is a ``FolderWatch``, ``names`` opens
    a devices file, ``try_names`` tries one on a folder, ``devices_schema`` gives its schema, ``rules`` makes
    ``RuleTools``, ``models`` makes ``ModelTools``; ``explainer`` and ``replayer`` make an ``Explainer`` and a
    ``Replayer`` of a ledger and its store; ``assets`` is the package with the folders ``models`` and ``examples``.
    ``find_name`` reads a picture's key; None if it names no time."""

    pipeline: Pipeline
    channels: str
    folder_watch: str
    names: str
    try_names: str
    devices_schema: str
    rules: str
    models: str
    explainer: str
    replayer: str
    assets: str
    find_name: Callable[[str], PictureName | None]
    shipped_before: frozenset[str] = frozenset()
    """The sha256 of files of models that earlier versions shipped: the one of today takes their place."""

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

    def open_names(self, file: Path | None) -> Callable[[str, datetime], JsonObject]:
        """Return a reader of paths and the times when they were first seen; it gives what ``lookout names read --json``
        shows. Raises InputRejected for a list of names that cannot be used."""
        return cast(Callable[[str, datetime], JsonObject], load(self.names)(file))

    def devices_schema_text(self) -> str:
        """Return the JSON Schema of devices files."""
        return cast(Callable[[], str], load(self.devices_schema))()

    def try_list(self, folder: Path, file: Path | None) -> JsonObject:
        """Return how a list of names reads a folder, as ``lookout names try --json`` shows it. Raises InputRejected."""
        return cast(Callable[[Path, Path | None], JsonObject], load(self.try_names))(folder, file)

    def load_rule_tools(self) -> RuleTools:
        """Load the commands on rule files; what they need is loaded now."""
        return cast(RuleTools, load(self.rules)())

    def load_channels(self) -> Channels:
        """Load the opening of channels; each channel is loaded when it is opened."""
        return cast(Channels, load(self.channels)())

    def load_model_tools(self) -> ModelTools:
        """Load the commands on models; what they need is loaded now."""
        return cast(ModelTools, load(self.models)())

    def load_explainer(self, ledger: Ledger, store: ObjectReader) -> Explainer:
        """Load the explanations of the pictures of one ledger and its store."""
        return cast(Explainer, load(self.explainer)(ledger, store))

    def load_replayer(self, ledger: Ledger, store: ObjectReader) -> Replayer:
        """Load the replays of one ledger and its store."""
        return cast(Replayer, load(self.replayer)(ledger, store))

    def find_asset(self, name: str) -> Path | None:
        """Find a file or folder that is installed with Lookout; None where it is left out, as in a stage's image."""
        from importlib.resources import files  # imported here: a stage's container needs none and starts sooner

        try:
            path = Path(str(files(self.assets).joinpath(name)))
        except ModuleNotFoundError:
            return None
        return path if path.exists() else None

    def load_folder_watch(self) -> FolderWatch:
        """Load the watch on a folder; what it needs is loaded now."""
        return cast(FolderWatch, load(self.folder_watch))
