"""References in force for the stages of a pipeline, and the digests by which a stage's datums are outdated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from lookout.domain.identity import digest, references_digest
from lookout.domain.pipeline import Pipeline, Select, Selection, Stage, load
from lookout.domain.records import Reference


@dataclass(frozen=True, kw_only=True, slots=True)
class Selected:
    """References that apply to one datum with their digest; ``prepared`` is equal for datums that share a prepared
    stage."""

    references: tuple[Reference, ...]
    digest: str
    recipe: str
    prepared: str


class InForce:
    """References in force for one stage, pinned when made, and the choice of those that apply to a key."""

    def __init__(self, stage: Stage, references: Sequence[Reference]) -> None:
        self.references = tuple(references)
        self.basis = digest("basis/1", stage.recipe, references_digest(self.references))
        """Digest of all that the stage's datums depend on beside their inputs: recipe and references."""
        self._uses = stage.references
        self._recipe = stage.recipe
        self._digests: dict[tuple[str, ...], tuple[str, str]] = {}

    @cached_property
    def _selection(self) -> Selection | None:
        """Prepared with the first datum: a run without one loads nothing of the stage."""
        if not self.references or self._uses is None or self._uses.select is None:
            return None
        prepare: Select = load(self._uses.select)
        return prepare(self.references)

    def select(self, key: str, group: str) -> Selected:
        """Choose what applies to the datum of this key, in this group."""
        return self._selected(self.references if self._selection is None else tuple(self._selection(key, group)))

    def all(self) -> Selected:
        """Give all references, whichever datums they apply to."""
        return self._selected(self.references)

    def _selected(self, chosen: tuple[Reference, ...]) -> Selected:
        names = tuple(sorted(reference.name for reference in chosen))
        digests = self._digests.get(names)
        if digests is None:
            selected = references_digest(chosen)
            digests = self._digests[names] = selected, digest("prepared/1", self._recipe, selected)
        return Selected(references=chosen, digest=digests[0], recipe=self._recipe, prepared=digests[1])


def read_in_force(pipeline: Pipeline, references: Callable[[str], Sequence[Reference]]) -> dict[str, InForce]:
    """Read what is in force now, by stage; ``references`` gives the references in force in a bucket."""
    return {
        stage.name: InForce(stage, references(stage.references.bucket) if stage.references else ())
        for stage in pipeline.stages
    }


def recipe_digests(pipeline: Pipeline, references: Callable[[str], Sequence[Reference]]) -> dict[str, str]:
    """Give, by stage, the digest of this program's recipe and of the references in force now."""
    return {name: in_force.basis for name, in_force in read_in_force(pipeline, references).items()}
