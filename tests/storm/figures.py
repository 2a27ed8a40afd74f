"""Counts of what a storm did, for people who want to know how much it proves."""

from __future__ import annotations

import json
from collections import Counter
from typing import Final

from tests.storm.weather import Act

_OUTAGES: Final = (
    Act.FILL,
    Act.KILL_STORE,
    Act.KILL_LEDGER,
    Act.FREEZE_STORE,
    Act.FREEZE_LEDGER,
)
_RECOVERIES: Final = (Act.FREE, Act.WRITABLE, Act.RECOVER)


class Figures:
    """Counters by name; sums of several storms add up."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.acts: Counter[str] = Counter()

    def act(self, act: Act) -> None:
        """Count something that happened."""
        self.acts[act.value] += 1
        if act in _OUTAGES:
            self.counts["outages"] += 1
        elif act not in (*_RECOVERIES, Act.CLOCK):
            self.counts["file changes"] += 1

    def add(self, other: Figures) -> None:
        """Count those of another storm, too."""
        self.counts.update(other.counts)
        self.acts.update(other.acts)

    def __str__(self) -> str:
        return json.dumps({**dict(sorted(self.counts.items())), "by kind": dict(sorted(self.acts.items()))}, indent=1)
