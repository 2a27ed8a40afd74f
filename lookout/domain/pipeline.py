"""The types of a pipeline: which stage reads what, and what makes its datums.

A declaration, not code that runs: functions are named ``module:function`` and imported only where they are needed, so
that planning 10,000 finished datums loads neither a model nor OpenCV.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Protocol

from lookout.domain.identity import recipe_digest
from lookout.domain.records import Json, JsonObject, LoadedReference, ObjectRef, Reference, Result, Work

UNNAMED = "-"
"""The device and the day of pictures whose key names neither."""
OVERVIEW = ""
"""The key of the one datum of a grouped stage that reads the tallies of all groups."""


class Run(Protocol):
    """A prepared stage: pure, called once a datum, in any order."""

    def __call__(self, work: Work, /) -> Result: ...


class Prepare(Protocol):
    """Function that prepares a stage for many datums: checks parameters, loads the model. Raises only InputRejected."""

    def __call__(self, params: JsonObject, references: Sequence[LoadedReference], /) -> Run: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """One usable unit found in what a user gave as references: its files by role, and what later steps need of it."""

    name: str
    files: Mapping[str, bytes]
    meta: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """One file that cannot come into force, and the sentence that says why, with file, place and field."""

    name: str
    reason: str


class Accept(Protocol):
    """Function that checks files for references: name -> bytes in, accepted and refused units out. Pure; never raises
    for a bad file."""

    def __call__(self, files: Mapping[str, bytes], /) -> Sequence[Accepted | Refused]: ...


class Selection(Protocol):
    """Function that selects the references that apply to the datum of a key in a group, in any order. Pure and fast."""

    def __call__(self, key: str, group: str, /) -> Sequence[Reference]: ...


class Select(Protocol):
    """Function that prepares a selection among the references in force. Pure, light to import."""

    def __call__(self, references: Sequence[Reference], /) -> Selection: ...


class Outdated(Protocol):
    """Function that tells whether the result with these facts, of the datum of this key, would differ if its input were
    seen for the first time at ``now_s``. Pure, fast, light to import."""

    def __call__(self, key: str, facts: JsonObject, params: JsonObject, now_s: float, /) -> bool: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Reads:
    """One input of a stage: of the object in ``bucket`` that belongs to the datum's key and matches ``pattern``.

    ``bucket`` is the pipeline's input bucket or an upstream stage's name; ``pattern`` is a glob over whole keys in
    which ``*`` crosses folders. A datum exists when each of its reads finds exactly one object; an ``optional`` one may
    find none.
    """

    role: str
    bucket: str
    pattern: str = "*"
    max_bytes: int | None = None
    """A larger object is handed over without its data; its ``ref.size`` tells."""
    optional: bool = False
    first_seen: bool = False
    """True if a stage that does not read the input bucket is told when the input of the datum was first seen."""

    def find(self, outputs: Sequence[ObjectRef]) -> ObjectRef | None:
        """Return the one output that matches, or None. Raises ValueError when several do: the declaration is wrong."""
        found = [ref for ref in outputs if fnmatchcase(ref.key, self.pattern)]
        if len(found) > 1:
            raise ValueError(f"{self.bucket}: expected one output for {self.pattern!r}, got {[r.key for r in found]}")
        return found[0] if found else None


@dataclass(frozen=True, kw_only=True, slots=True)
class UsesReferences:
    """The references that a stage depends on: their bucket, how a set is accepted, and which apply to a datum.

    ``context`` names a function that says what ``accept`` makes use of beside the files: when that changes, the same
    files are examined again.
    """

    bucket: str
    accept: str
    context: str | None = None
    select: str | None = None
    required: bool = True
    """Whether the stage cannot run at all while nothing is in force in the bucket."""
    companions: bool = False
    """Whether a single file given stands for all files of its stem: a model and its manifest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage: its outputs go to the bucket of its own name.

    ``version`` with ``params`` is the recipe: raise it when the same input would now give another output. ``grouped``
    makes one datum per group of upstream datums and one overview datum, instead of one per input object. ``outdated``
    names the function that finds labelled results to be made again because time has passed (see ``Outdated``).
    """

    name: str
    version: int
    prepare: str
    reads: tuple[Reads, ...]
    references: UsesReferences | None = None
    params: JsonObject = field(default_factory=dict)
    grouped: bool = False
    tries: int = 3
    timeout_s: float = 60.0
    outdated: str | None = None

    def __post_init__(self) -> None:
        if not self.reads:
            raise ValueError(f"stage {self.name}: expected at least one input to read, got none")
        if self.tries < 1 or self.timeout_s <= 0:
            raise ValueError(f"stage {self.name}: expected tries >= 1 and timeout_s > 0")

    @property
    def recipe(self) -> str:
        return recipe_digest(self.name, self.version, self.params)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipeline:
    """Stages in an order in which each reads only the input bucket and stages before it.

    ``group_of`` names the group of an input key, for tallies and grouped stages: a pure function of the key. It holds
    unless the stage that reads the input says another group, and for keys that no stage has done yet.
    """

    inputs: str
    stages: tuple[Stage, ...]
    group_of: Callable[[str], str]
    subject_of: Callable[[str], str | None] = lambda _key: None
    """The subject of a picture by its key, for alerts that were kept before they had one."""

    def __post_init__(self) -> None:
        known = {self.inputs}
        for stage in self.stages:
            for read in stage.reads:
                if read.bucket not in known:
                    raise ValueError(f"stage {stage.name} reads {read.bucket!r}; expected one of {sorted(known)}")
            if stage.name in known:
                raise ValueError(f"expected each stage and bucket name once, got {stage.name!r} again")
            known.add(stage.name)

    def stage(self, name: str) -> Stage:
        """Return the stage of that name. Raises KeyError."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)

    def readers(self, bucket: str) -> tuple[Stage, ...]:
        """Return the stages that read the bucket."""
        return tuple(stage for stage in self.stages if any(read.bucket == bucket for read in stage.reads))

    def upstream(self, name: str) -> tuple[str, ...]:
        """Return the names of all stages before this one that its datums depend on, directly or not, in their order."""
        needed: set[str] = set()
        for stage in reversed(self.stages):
            if stage.name == name or stage.name in needed:
                needed.update(read.bucket for read in stage.reads)
        return tuple(stage.name for stage in self.stages if stage.name in needed)

    def downstream(self, name: str) -> tuple[str, ...]:
        """Return the names of all stages after this one that depend on it, directly or not, in their order."""
        return tuple(stage.name for stage in self.stages if name in self.upstream(stage.name))

    def with_params(self, overrides: Mapping[str, Mapping[str, Json]]) -> Pipeline:
        """Return the same pipeline with some parameters of some stages replaced. Raises KeyError for an unknown
        stage."""
        for name in overrides:
            self.stage(name)
        stages = tuple(
            replace(stage, params={**stage.params, **overrides.get(stage.name, {})}) for stage in self.stages
        )
        return replace(self, stages=stages)


def device_of(group: str) -> str:
    """Return the device of a group, ``<device>/<day>``."""
    return group.partition("/")[0]


def unit_names(references: Sequence[Reference]) -> list[str]:
    """Return the names under which references were given: a unit whose name has a slash is a part of another one."""
    return [reference.name for reference in references if "/" not in reference.name]


def silent_units(references: Sequence[Reference]) -> list[str]:
    """Return the units with a part that has an effect and tells nobody of it, as their ``meta`` says: a rule without a
    recipient."""
    return [reference.name for reference in references if _is_silent(reference.meta)]


def _is_silent(value: Json) -> bool:
    if isinstance(value, Mapping):
        return value.get("silent") is True or any(map(_is_silent, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_is_silent, value))


def load(path: str) -> Any:
    """Return the function that ``module:function`` names. The caller gives it its type."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
