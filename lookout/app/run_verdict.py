"""Verdict on a run: what was found in its pictures and what failed: a sentence, an exit code and a few small files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lookout.app.catch_up import find_refused
from lookout.app.deployment import Deployment
from lookout.batches.closing import Found
from lookout.domain.errors import EXIT_DATUM_FAILED, EXIT_OK
from lookout.domain.pipeline import UNNAMED, device_of
from lookout.domain.records import JsonObject
from lookout.filesystem.files import failure
from lookout.text import count, printable

MESSAGE_FILE: Final = Path("/dev/termination-log")
_MESSAGE_BYTES: Final = 3000
"""Kubernetes keeps 4 KiB, of all containers of a pod 12."""
_NAMED: Final = 5
"""Most failed datums, and labels, that are named."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Verdict on a run. ``found`` None: no part of the run ever began."""

    run: str
    found: Found | None
    alerts: dict[str, int]
    refused: list[str]

    @property
    def exit_code(self) -> int:
        return EXIT_DATUM_FAILED if self.refused or (self.found is not None and self.found.failures) else EXIT_OK

    @property
    def device(self) -> str:
        """The device, or how many there are."""
        found = self.found or Found()
        devices = sorted({device_of(group) for group in found.groups} - {UNNAMED})
        return devices[0] if len(devices) == 1 else f"{len(devices)} devices" if devices else ""

    @property
    def remarkable(self) -> str:
        """Return the remarkable labels, the most frequent first."""
        labels: Counter[str] = (self.found or Found()).labels
        named = [f"{number} {label}" for label, number in sorted(labels.items(), key=lambda item: (-item[1], item[0]))]
        more = [f"{len(named) - _NAMED} other kinds"] if len(named) > _NAMED else []
        return ", ".join([*named[:_NAMED], *more]) or "nothing"

    @property
    def failed(self) -> str:
        """Return the failed datums and their errors; empty if none."""
        failures = (self.found or Found()).failures
        named = [f"{slot.stage} of {slot.key or 'all groups'}: {slot.error}" for slot in failures[:_NAMED]]
        more = [f"and {len(failures) - _NAMED} more"] if len(failures) > _NAMED else []
        return "; ".join([*named, *more])

    def as_text(self) -> str:
        """Return one line for people, errors first: messages are cut."""
        if self.found is None:
            return f"run {self.run}: nothing of it was begun"
        parts = [f"cannot be used: {'; '.join(self.refused)}"] if self.refused else []
        if self.failed:
            parts.append(f"failed: {len(self.found.failures)}: {self.failed}")
        of = f" of {self.device}" if self.device else ""
        parts.append(f"{count(self.found.pictures, 'picture')}{of}: {self.remarkable}")
        if self.alerts:
            parts.append("alerts: " + ", ".join(f"{number} {state}" for state, number in self.alerts.items()))
        if self.found.waiting:
            parts.append(f"left to the next cut: {count(self.found.waiting, 'datum', 'datums')}")
        return printable(". ".join(parts))

    def as_json(self) -> JsonObject:
        """Return the contract of ``--json``; documented in docs/cli.md."""
        found = self.found or Found()
        return {
            "run": self.run,
            "begun": self.found is not None,
            "device": self.device,
            "pictures": found.pictures,
            "found": dict(found.labels),
            "made": found.made,
            "failures": [{"stage": one.stage, "key": one.key, "error": one.error} for one in found.failures],
            "refused": list(self.refused),
            "alerts": dict(self.alerts),
            "waiting": found.waiting,
        }

    def as_files(self) -> dict[str, str]:
        """Return the values that a scheduler shows of a run, by file name."""
        pictures = self.found.pictures if self.found is not None else 0
        return {"device": self.device, "count": str(pictures), "found": self.remarkable, "failed": self.failed}


def judge(opened: Deployment, run: str, found: Found | None) -> Verdict:
    """Return the verdict on a run of which this was found."""
    alerts = {state.value: number for state, number in opened.ledger.count_alerts(run).items() if number}
    return Verdict(run=run, found=found, alerts=alerts, refused=find_refused(opened.ledger, run))


def write_verdict(said: Verdict, to: Path | None, message: Path) -> None:
    """Write the files of a verdict into the folder ``to``, and its sentence into ``message`` if that file exists."""
    try:
        if to is not None:
            to.mkdir(parents=True, exist_ok=True)
            for file, content in said.as_files().items():
                (to / file).write_text(printable(content), encoding="utf-8")
        if message.exists():
            message.write_bytes(said.as_text().encode()[:_MESSAGE_BYTES].decode(errors="ignore").encode())
    except OSError as error:
        raise failure(str(error.filename or to), error) from error
