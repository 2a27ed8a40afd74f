"""Identity of a state: the same id in its ledger and beside it, so that a lost or foreign ledger is not taken for new.

A ledger that is new where results lie has lost what they came from and who was told: everything would be done, and
every mail sent, again.
"""

from __future__ import annotations

import re
import uuid
from itertools import islice
from pathlib import Path
from typing import Final

from lookout.domain.errors import Corrupt, Denied, InputRejected
from lookout.domain.pipeline import Pipeline
from lookout.domain.records import State
from lookout.filesystem.files import MAX_SETTING_BYTES, failure, read_named
from lookout.ledger.port import DAMAGED_HINT, Ledger
from lookout.object_store.port import STATUS_KEY, ObjectStore

STATE_NOTE: Final = "state"
STATE_FILE: Final = "state.id"
LEDGER_FILE: Final = "ledger.sqlite"
_REMEDY: Final = "fill it with `lookout ledger restore BACKUP`, or begin anew with `lookout ledger new`"

_LOST_HINT: Final = (
    "Bring the folder back. Where the model and the rules are still there, lookout run --verify makes all results anew."
)
_LOOKED_AT: Final = 1000
_ID: Final = re.compile(rb"[0-9a-f]{32}")
_ID_HINT: Final = f"Remove {STATE_FILE}: the next run writes it anew, with the id that the ledger has."


def check_ledger_file(pipeline: Pipeline, folder: Path, ledger_file: Path, objects: Path) -> None:
    """Raise Corrupt where a ledger file is missing or empty although the folder was worked in."""
    if ledger_file.exists() and ledger_file.stat().st_size:
        return
    if (folder / STATE_FILE).exists() or any(_holds_something(objects / stage.name) for stage in pipeline.stages):
        got = "an empty file" if ledger_file.exists() else "no file"
        raise Corrupt(str(ledger_file), "the ledger of the results beside it", got, DAMAGED_HINT)


def check_results(pipeline: Pipeline, ledger: Ledger, objects: Path) -> None:
    """Raise Corrupt for a stage whose folder is gone although the ledger has results in it. Looks at few slots: for a
    run that has published all that it and others before it made."""
    for stage in pipeline.stages:
        if (objects / stage.name).is_dir():
            continue
        slots = islice(ledger.slots(stage.name, states=[State.SUCCESS]), _LOOKED_AT)
        if any(slot.record is not None and slot.record.outputs for slot in slots):
            raise Corrupt(str(objects / stage.name), "the folder of the stage's results", "none", _LOST_HINT)


def check_identity(folder: Path, ledger: Ledger) -> None:
    """Raise Corrupt for a ledger that is not the one of the folder's state."""
    expected, got = _read(folder), ledger.find_note(STATE_NOTE)
    if expected is not None and expected != got:
        found = "a new ledger" if got is None else f"the ledger of state {got}"
        raise Corrupt(str(folder), f"the ledger of state {expected}", found, DAMAGED_HINT)


def bind(folder: Path, ledger: Ledger) -> None:
    """Give ledger and folder one id: that of the ledger, or a new one. One process at a time; a kill in between leaves
    it to the next call."""
    known = ledger.find_note(STATE_NOTE)
    if known is not None and _read(folder) == known:
        return
    # Imported here: a container whose ledger is on a server need not load SQLite.
    from lookout.ledger.sqlite.database import locked

    locks = folder / f"{LEDGER_FILE}.d"
    locks.mkdir(exist_ok=True)
    with locked(locks / "making"):
        known = ledger.find_note(STATE_NOTE)
        if known is None:
            known = uuid.uuid4().hex
            ledger.put_note(STATE_NOTE, known)
        if _read(folder) != known:
            part = folder / f"{STATE_FILE}.part"
            part.unlink(missing_ok=True)  # whatever it is: to open a pipe would wait for its reader
            part.write_text(known)
            part.replace(folder / STATE_FILE)


def check_servers(pipeline: Pipeline, ledger: Ledger, store: ObjectStore) -> None:
    """Raise Corrupt for a ledger without any slot beside a store with results. Cheap for every other ledger; writes
    nothing, so that any user of the ledger may ask."""
    if _is_at_work(pipeline, ledger):
        return
    found = next((stage.name for stage in pipeline.stages if _has_results(store, stage.name)), None)
    if found is not None and not _is_at_work(pipeline, ledger):  # else it was given work meanwhile, of which these are
        raise Corrupt("the ledger", f"that of the results in bucket {found}", f"a new one; {_REMEDY}")


def bind_servers(ledger: Ledger) -> None:
    """Give a ledger on a server an id, if it has none: from then on it is that of the results beside it."""
    if ledger.find_note(STATE_NOTE) is None:
        ledger.put_note(STATE_NOTE, uuid.uuid4().hex)


def _is_at_work(pipeline: Pipeline, ledger: Ledger) -> bool:
    """Ask whether the ledger was begun for good, planned for, or has a slot; in the order of what that costs."""
    return (
        ledger.find_note(STATE_NOTE) is not None
        or any(ledger.basis(stage.name) is not None for stage in pipeline.stages)
        or any(sum(states.values()) for states in ledger.count_slots().values())
    )


def _has_results(store: ObjectStore, bucket: str) -> bool:
    """Ask whether a bucket has results; the status beside the page is none, as it is written before there are any.
    False also for a bucket that this user may not list: each stage's user may list that of its own."""
    try:
        return any(listed.key != STATUS_KEY for listed in store.list(bucket))
    except Denied:
        return False


def _read(folder: Path) -> str | None:
    try:
        id_ = read_named(folder / STATE_FILE, MAX_SETTING_BYTES).strip()
    except FileNotFoundError:
        return None
    except InputRejected as exc:
        raise Corrupt(str(folder / STATE_FILE), "32 hexadecimal digits", exc.what, _ID_HINT) from exc
    except OSError as exc:
        raise failure(str(folder / STATE_FILE), exc) from exc
    if id_ and not _ID.fullmatch(id_):
        raise Corrupt(str(folder / STATE_FILE), "32 hexadecimal digits", repr(id_[:40]), _ID_HINT)
    return id_.decode("ascii") or None


def _holds_something(folder: Path) -> bool:
    return folder.is_dir() and next(folder.iterdir(), None) is not None


__all__ = [
    "STATE_FILE",
    "STATE_NOTE",
    "bind",
    "bind_servers",
    "check_identity",
    "check_ledger_file",
    "check_results",
    "check_servers",
]
