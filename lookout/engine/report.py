"""Report of an engine: which datums ended how, counted by stage and told one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from lookout.domain.records import State


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Step that a person may want to see: a datum of ``stage`` settled as ``state``; ``skipped`` if not run."""

    stage: str
    key: str
    state: State
    skipped: bool = False
    error: str | None = None


@dataclass(kw_only=True)
class Report:
    """Report of all that was worked, by stage. ``on_progress`` is told of each datum."""

    on_progress: Callable[[Progress], None] = field(default=lambda _: None, compare=False, repr=False)
    success: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    unrunnable: Counter[str] = field(default_factory=Counter)
    retracted: Counter[str] = field(default_factory=Counter)

    def add(self, progress: Progress) -> None:
        """Count a datum, and tell of it."""
        if progress.skipped:
            self.skipped[progress.stage] += 1
        elif (counter := getattr(self, progress.state.value, None)) is not None:
            counter[progress.stage] += 1
        self.on_progress(progress)
