"""A note of the ledger that is damaged is named in an error of its kind, whoever reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lookout.app.catch_up import find_refused
from lookout.domain.errors import Corrupt
from lookout.ledger.port import Ledger
from lookout.runs.change_feed import TROUBLE_NOTE, find_troubles
from lookout.sources.deletion_guard import HELD_NOTE, RETENTION_NOTE, WINDOW_NOTE, DeletionGuard, find_held
from lookout.sources.reconcile import TAILS_NOTE, reconcile_recent
from lookout.sources.unlistable import UNLISTABLE_NOTE, find_unlistable, keep_unlistable
from tests.engine.world import World


class Nothing:
    """A source without pictures."""

    origin = "nothing"

    def keys(self, after: str = "") -> object:
        return iter(())


def guard(ledger: Ledger) -> DeletionGuard:
    return DeletionGuard(ledger=ledger, bucket="texts", origin="x", clock=lambda: 1e9, readers=("first",))


READERS: dict[str, tuple[str, Callable[[Ledger], object]]] = {
    "held": (HELD_NOTE, find_held),
    "window": (WINDOW_NOTE, lambda ledger: guard(ledger).most()),
    "retention": (RETENTION_NOTE, lambda ledger: guard(ledger).is_expected(["a/1"])),
    "unlistable": (UNLISTABLE_NOTE, find_unlistable),
    "unlistable, kept": (UNLISTABLE_NOTE, lambda ledger: keep_unlistable(ledger, "x", {})),
    "watch": (TROUBLE_NOTE, find_troubles),
    "refused": ("refused", lambda ledger: find_refused(ledger, "run")),
    "tails": (TAILS_NOTE, lambda ledger: reconcile_recent(ledger, Nothing(), "texts", (), lambda: 1e9)),  # type: ignore[arg-type]
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("damaged", ["{", "nil", "[7]", "null", "NaN"])
@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_note_is_named(world: World, reader: str, damaged: str) -> None:
    note, read = READERS[reader]
    with world.ledger() as ledger:
        ledger.put_note(note, damaged)
        with pytest.raises(Corrupt, match=f"the note {note}"):
            read(ledger)


@pytest.mark.parametrize("reader", READERS)
def test_a_note_that_is_empty_says_nothing(world: World, reader: str) -> None:
    note, read = READERS[reader]
    with world.ledger() as ledger:
        ledger.put_note(note, "")
        read(ledger)
