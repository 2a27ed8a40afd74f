"""Identity of a state: the same id in its ledger and beside it, so that a lost or foreign ledger is not taken for new.

A ledger that is new where results lie has lost what they came from and who was told: everything would be done, and
every mail sent, again.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Final

from lookout.errors import Corrupt
from lookout.ledger.base import Ledger
from lookout.objects.base import ObjectStore
from stages.pipeline import PIPELINE

STATE_NOTE: Final = "state"
STATE_FILE: Final = "state.id"


def check_ledger_file(folder: Path, ledger_file: Path, objects: Path) -> None:
    """Raise Corrupt where a ledger file is missing or empty although the folder was worked in."""
    if ledger_file.exists() and ledger_file.stat().st_size:
        return
    if (folder / STATE_FILE).exists() or any(_holds_something(objects / stage.name) for stage in PIPELINE.stages):
        got = "an empty file" if ledger_file.exists() else "no file"
        raise Corrupt(str(ledger_file), "the ledger of the results beside it", got)


def check_identity(folder: Path, ledger: Ledger) -> None:
    """Raise Corrupt for a ledger that is not the one of the folder's state."""
    expected, got = _read(folder), ledger.find_note(STATE_NOTE)
    if expected is not None and expected != got:
        raise Corrupt(str(folder), f"the ledger of state {expected}", f"that of {got or 'a new one'}")


def bind(folder: Path, ledger: Ledger) -> None:
    """Give ledger and folder one id: that of the ledger, or a new one. A kill in between leaves it to the next call."""
    known = ledger.find_note(STATE_NOTE)
    if known is None:
        known = uuid.uuid4().hex
        ledger.put_note(STATE_NOTE, known)
    if _read(folder) != known:
        part = folder / f"{STATE_FILE}.part-{os.getpid()}"
        part.write_text(known)
        part.replace(folder / STATE_FILE)


def check_servers(ledger: Ledger, store: ObjectStore) -> None:
    """Raise Corrupt for a ledger without any slot beside a store with results. Asked once in the life of a ledger."""
    if ledger.find_note(STATE_NOTE) is not None:
        return
    done = any(sum(states.values()) for states in ledger.count_slots().values())
    if not done:
        for stage in PIPELINE.stages:
            if next(store.list(stage.name), None) is not None:
                raise Corrupt("the ledger", f"that of the results in bucket {stage.name}", "a new one")
    ledger.put_note(STATE_NOTE, uuid.uuid4().hex)


def _read(folder: Path) -> str | None:
    try:
        return (folder / STATE_FILE).read_text().strip() or None
    except FileNotFoundError:
        return None


def _holds_something(folder: Path) -> bool:
    return folder.is_dir() and next(folder.iterdir(), None) is not None


__all__ = ["STATE_FILE", "STATE_NOTE", "bind", "check_identity", "check_ledger_file", "check_servers"]
