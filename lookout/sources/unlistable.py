"""Subfolders of the source that could not be listed: kept in a note of the ledger until a look finds them again.

Below such a folder nothing is retracted and nothing new is found, while all else goes on. Knows no store and no way to
look at a source.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from lookout.ledger.notes import read_note, texts
from lookout.ledger.port import Ledger
from lookout.log import get_logger

log = get_logger(__name__)

UNLISTABLE_NOTE: Final = "unlistable"
UNLISTABLE_HINT: Final = "nothing below it is found or retracted; make it readable, then run again"
NAMED: Final = 50
"""So many folders are named in the note at most, the first by their keys."""


def keep_unlistable(ledger: Ledger, origin: str, folders: Mapping[str, str]) -> None:
    """Note the folders that a look at the whole source could not list, by key, and why. Writes only what differs."""
    named = {key: folders[key] for key in sorted(folders)[:NAMED]}
    for key, why in named.items():
        log.warning("unlistable", origin=origin, folder=key, why=why, then=UNLISTABLE_HINT)
    if len(folders) > NAMED:
        log.warning("unlistable", origin=origin, more=len(folders) - NAMED)
    if named != find_unlistable(ledger):
        ledger.put_note(UNLISTABLE_NOTE, json.dumps(named) if named else "")


def find_unlistable(ledger: Ledger) -> dict[str, str]:
    """Give the folders that the last look at the whole source could not list, by key, and why."""
    return read_note(ledger, UNLISTABLE_NOTE, "folders, each with a reason", texts, {})
