"""Account of a storm after it: every alert, every result, and everything that may be left over.

Each function gives sentences about what does not hold, none for all well. Knows no command and no server.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.storm.mail import REASON, Arrival

Alerts = Mapping[str, Mapping[str, Any]]
"""By id, as ``lookout alerts list --json`` shows them."""
ENDED: Final = ("sent", "dead", "canceled")


def find_lost_alerts(alerts: Alerts, wanted: Alerts, seen: Collection[str], arrivals: Sequence[Arrival]) -> list[str]:
    """Alerts that are not accounted for. ``wanted`` are those of a calm run over the final source, ``seen`` all ids
    that the ledger has ever shown."""
    arrived = {id_ for one in arrivals if one.may_be_accepted for id_ in one.alerts}
    accepted = {id_ for one in arrivals if one.status == 202 for id_ in one.alerts}
    faults = [f"alert {id_} was in the ledger and is gone" for id_ in sorted(set(seen) - set(alerts))]
    faults += [f"alert {id_} came and is not in the ledger" for id_ in sorted(arrived - set(alerts))]
    for id_, alert in sorted(alerts.items()):
        state, error = alert["state"], alert["error"] or ""
        if state not in ENDED:
            faults.append(f"alert {id_} is {state} for good: {error}")
        elif state == "sent" and id_ not in accepted:
            faults.append(f"alert {id_} is sent, and no request with it was accepted")
        elif state == "dead" and REASON not in error:
            faults.append(f"alert {id_} is dead without the API's reason: {error!r}")
        elif state == "canceled" and id_ in wanted:
            faults.append(f"alert {id_} is canceled, and its picture is there")
    faults += [f"alert {id_} was never made" for id_ in sorted(set(wanted) - set(alerts))]
    return faults


def find_unmarked_repeats(arrivals: Sequence[Arrival]) -> list[str]:
    """Alerts that may have come twice without saying so."""
    came: set[str] = set()
    faults = []
    for number, one in enumerate(arrivals):
        if not one.may_be_accepted:
            continue
        faults += [
            f"request {number} repeats alert {id_} without a mark"
            for id_ in one.alerts
            if id_ in came and not one.marked
        ]
        came.update(one.alerts)
    return faults


def count_repeats(arrivals: Sequence[Arrival]) -> int:
    """Arrivals of alerts that came before."""
    came = [id_ for one in arrivals if one.may_be_accepted for id_ in one.alerts]
    return len(came) - len(set(came))


def find_differences(what: str, found: Mapping[Any, Any], wanted: Mapping[Any, Any]) -> list[str]:
    """Return the differences of two mappings."""
    faults = [f"{what}: {key} is missing" for key in sorted(set(wanted) - set(found))]
    faults += [f"{what}: {key} should not be there" for key in sorted(set(found) - set(wanted))]
    for key in sorted(set(found) & set(wanted)):
        if found[key] != wanted[key]:
            faults.append(f"{what}: {key} is {_short(found[key])}, expected {_short(wanted[key])}")
    return faults


def find_bytes(folder: Path, words: bytes) -> list[str]:
    """Files below the folder in which the bytes are."""
    return [f"{path} holds {words!r}" for path in files(folder) if words in path.read_bytes()]


def files(folder: Path) -> Iterator[Path]:
    """All regular files below a folder."""
    for where, _, names in os.walk(folder):
        for name in names:
            path = Path(where, name)
            if path.is_file() and not path.is_symlink():
                yield path


def find_processes(root: Path) -> list[str]:
    """Processes that belong to a storm: those whose home is its folder."""
    mark = b"HOME=" + os.fsencode(root)
    return [
        f"process {pid} is still there" for pid in _pids() if mark in _read(Path("/proc", pid, "environ")).split(b"\0")
    ]


def shared_files() -> dict[str, int]:
    """Inodes of the files in /dev/shm, by name. Locks are files; folders there are other programs'."""
    with os.scandir("/dev/shm") as found:
        return {one.name: one.inode() for one in found if one.is_file(follow_symlinks=False)}


def find_shared(before: Collection[str]) -> list[str]:
    """Names in /dev/shm that are new, and of which no process makes use: those of a lock are told by its inode."""
    new = {name: inode for name, inode in shared_files().items() if name not in before}
    used = {field for pid in _pids() if new for field in _read(Path("/proc", pid, "maps")).split()}
    still = shared_files()
    return [f"/dev/shm/{name} is left" for name, inode in new.items() if name in still and b"%d" % inode not in used]


def _pids() -> Iterable[str]:
    return [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it has ended


def _short(value: object) -> str:
    return f"{len(value)} other bytes" if isinstance(value, bytes) else repr(value)
