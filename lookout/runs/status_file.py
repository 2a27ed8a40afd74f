"""Status of a deployment as a small script beside the page, which is drawn from results alone and shows no trouble.

The thread of the engine reads the ledger, at most every few seconds. A thread of its own writes, so that a store that
does not answer delays no picture. A file that cannot be written is logged, and written with the next report.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from lookout.domain.isolation import reason
from lookout.domain.pipeline import Pipeline
from lookout.domain.records import Json, JsonObject, State
from lookout.domain.rule_fit.records import FitNote, count_without_effect, gravest_first
from lookout.ledger.port import Ledger
from lookout.log import get_logger
from lookout.object_store.port import STATUS_KEY, ObjectStore
from lookout.outbox.unsent import find_unsent
from lookout.references.fit import FitReader
from lookout.runs.change_feed import find_troubles
from lookout.sources.deletion_guard import find_held

log = get_logger(__name__)

REPORT_S: Final = 5.0
"""Shortest pause between two reports of a watch. After a report that took long it is longer."""
RENEW_S: Final = 60.0
"""A file that says the same is written again when it is older, as a sign of life."""
GRACE_S: Final = 3.0
"""Time that the last report of a process is given to be written."""
LONGEST_REASON: Final = 300
MOST_NOTES: Final = 5
_PAUSE_SHARE: Final = 20
_HEAD: Final = "lookoutStatus("
_TAIL: Final = ");\n"
_MAIL_ADDRESS: Final = re.compile(r"[^\s<>()\[\]\"',;:]+@[^\s<>()\[\]\"',;:]+")


class StatusFile:
    """Writer of ``STATUS_KEY`` in the bucket of the page. All methods are for the thread of the engine."""

    def __init__(
        self, *, pipeline: Pipeline, ledger: Ledger, store: ObjectStore, bucket: str, clock: Callable[[], float]
    ) -> None:
        self._pipeline, self._ledger, self._store, self._bucket = pipeline, ledger, store, bucket
        self._clock = clock
        self._fit = FitReader(lambda: pipeline)
        self._notes: tuple[FitNote, ...] = ()
        self._logged: frozenset[FitNote] = frozenset()
        self._due_s = 0.0
        self._visible: JsonObject | None = None
        self._trouble: str | None = None
        self._writer: threading.Thread | None = None

    def keep_up(self) -> None:
        """Report that a watch is at work, if that is due. To be called each second or so."""
        began_s = time.monotonic()
        if began_s < self._due_s:
            return
        self._report(watching=True, broken=False)
        self._log_notes()
        took_s = time.monotonic() - began_s
        self._due_s = began_s + max(REPORT_S, _PAUSE_SHARE * took_s)

    def report_once(self) -> None:
        """Report that scheduled work goes on, from a process that ends now: the next one reports again. A schedule that
        has stopped shows on the page as a watch that has died does."""
        self._report(watching=True, broken=False)
        self._wait()

    def end(self, *, broken: bool) -> None:
        """Report that no run and no watch is at work any more; ``broken`` says that the last one met an error."""
        self._wait()
        self._report(watching=False, broken=broken)
        self._wait()

    def _wait(self) -> None:
        if self._writer is not None:
            self._writer.join(GRACE_S)

    def _report(self, *, watching: bool, broken: bool) -> None:
        """Have a report written, unless the one before is still being written."""
        if self._writer is not None and self._writer.is_alive():
            return
        try:
            self._notes = self._fit.look(self._ledger)
            now_s = self._clock()
            report = look(self._pipeline, self._ledger, now_s, watching=watching, broken=broken, notes=self._notes)
            if self._visible is None or _is_news(report, self._visible):
                # A daemon: the process ends though the store does not answer.
                writer = threading.Thread(target=self._write, args=(report,), name="status-file", daemon=True)
                writer.start()
                self._writer = writer
        except Exception as exc:  # noqa: BLE001 - whatever it is, as that no thread can be started, work goes on
            self._note(reason(exc))

    def _write(self, report: JsonObject) -> None:
        try:
            if self._visible is None:
                self._visible = parse(self._store.find_visible(self._bucket, STATUS_KEY))
            if _is_news(report, self._visible):
                self._store.overwrite(self._bucket, STATUS_KEY, render(report), "text/javascript; charset=utf-8")
                self._visible = report
            self._note(None)
        except Exception as exc:  # noqa: BLE001 - likewise; the next report is another go
            self._note(reason(exc))

    def _log_notes(self) -> None:
        """Log what has come to be noted on rules: of a watch nobody reads a summary while it lives."""
        now = frozenset(self._notes)
        for note in self._notes:
            if note not in self._logged:
                tell = log.error if note.without_effect else log.warning
                tell("rules do not fit", note=note.sentence, without_effect=note.without_effect)
        self._logged = now

    def _note(self, trouble: str | None) -> None:
        """Log trouble once, until it is another or over."""
        if trouble is not None and trouble != self._trouble:
            log.warning("status file not written", object=f"{self._bucket}/{STATUS_KEY}", error=trouble)
        self._trouble = trouble


def look(
    pipeline: Pipeline,
    ledger: Ledger,
    now_s: float,
    *,
    watching: bool,
    broken: bool,
    notes: Sequence[FitNote] = (),
) -> JsonObject:
    """Give the report; its fields are documented in docs/page.md. Without trouble all but the first two are 0 or
    empty. It holds no address of a recipient."""
    unsent, held = find_unsent(ledger, now_s), find_held(ledger)
    told = unsent.late if watching else unsent.total > 0
    counts = ledger.count_slots([stage.name for stage in pipeline.stages])
    failed = {stage: states.get(State.FAILED, 0) for stage, states in counts.items()}
    grouped = {stage.name for stage in pipeline.stages if stage.grouped}
    return {
        "at_s": round(now_s, 3),
        "watching": watching,
        "broken": broken,
        "unsent": unsent.total if told else 0,
        "dead": unsent.dead if told else 0,
        "unsent_since_s": unsent.oldest_at_s if told else None,
        "unsent_reason": _without_addresses(unsent.reason) if told else None,
        "failed": sum(number for stage, number in failed.items() if stage not in grouped),
        "failed_drawings": sum(number for stage, number in failed.items() if stage in grouped),
        "held_back": 0 if held is None else held.pictures,
        "held_back_since_s": None if held is None else held.since_s,
        "held_back_why": None if held is None else held.why,
        "watch": {name: number for name, number in find_troubles(ledger).items() if number},
        "rule_notes": len(notes),
        "rule_notes_said": [_without_addresses(note.sentence) for note in gravest_first(notes)[:MOST_NOTES]],
        "rules_without_effect": count_without_effect(notes),
    }


def render(report: Mapping[str, Json]) -> bytes:
    """Give the script that hands the report to the page: ASCII, so that it is the same in any encoding."""
    return f"{_HEAD}{json.dumps(report, separators=(',', ':'))}{_TAIL}".encode("ascii")


def parse(script: bytes | None) -> JsonObject:
    """Give the report in a script; an empty one where there is none."""
    try:
        report = json.loads((script or b"").decode().removeprefix(_HEAD).removesuffix(_TAIL))
    except ValueError:
        return {}  # of another version, or not ours: it is replaced
    return report if isinstance(report, dict) else {}


def _is_news(report: JsonObject, visible: JsonObject) -> bool:
    """Say whether the visible file says something else, or is too old a sign of life."""
    now_s, before_s = report["at_s"], visible.get("at_s")
    if not isinstance(now_s, float) or not isinstance(before_s, float | int):
        return True
    return {**visible, "at_s": now_s} != report or not 0 <= now_s - before_s < RENEW_S


def _without_addresses(text: str | None) -> str | None:
    return None if text is None else _MAIL_ADDRESS.sub("(address)", text)[:LONGEST_REASON]
