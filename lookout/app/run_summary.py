"""The sum of a run, for a person and as JSON: the source as it now stands, and what this run did to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lookout.app.channel_checks import channel_notes
from lookout.app.deployment import Deployment
from lookout.domain.pipeline import Pipeline, Refused, device_of, silent_units
from lookout.domain.records import Json, JsonObject, Record, State
from lookout.domain.rule_fit.records import FitNote, gravest_first
from lookout.ledger.port import Ledger
from lookout.outbox.unsent import Unsent, find_unsent
from lookout.references.fit import FitReader
from lookout.runs.runner import Ran
from lookout.sources.deletion_guard import ALLOW_HINT, Held, find_held
from lookout.sources.unlistable import UNLISTABLE_HINT, find_unlistable
from lookout.text import count, printable, table, when

INVALID_SHOWN: Final = 10
NOTES_SHOWN: Final = 10


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Everything that ``run`` says at its end. ``stages`` holds success, skipped, failed and unrunnable by stage."""

    run: str
    state: Path
    page: str | None
    stages: dict[str, dict[str, int]]
    failures: tuple[tuple[str, str, str], ...]
    invalid: tuple[dict[str, str], ...]
    ignored: int
    threats: dict[str, int]
    alerts: dict[str, int]
    unsent: Unsent
    refused: tuple[Refused, ...]
    pictures: int
    rules: int
    silent_rules: tuple[str, ...]
    rule_notes: tuple[FitNote, ...]
    retracted: int
    held: Held | None
    unlistable: Mapping[str, str]
    watch: Mapping[str, int]
    pending: int
    stopped: bool
    elapsed_s: float

    @property
    def failed(self) -> int:
        return sum(counts["failed"] for counts in self.stages.values())

    def as_json(self) -> JsonObject:
        """Give the contract of ``--json``; documented in docs/cli.md."""
        return {
            "run": self.run,
            "state": str(self.state),
            "page": self.page,
            "pictures": self.pictures,
            "stages": {name: dict(counts) for name, counts in self.stages.items()},
            "failures": [{"stage": stage, "key": key, "error": error} for stage, key, error in self.failures],
            "invalid": [dict(item) for item in self.invalid],
            "ignored": self.ignored,
            "silent_rules": list(self.silent_rules),
            "rule_notes": [note.as_json() for note in self.rule_notes],
            "threats": self.threats,
            "alerts": self.alerts,
            "unsent": self.unsent.as_json(),
            "refused": [{"name": item.name, "reason": item.reason} for item in self.refused],
            "retracted": self.retracted,
            "held_back": self.held.pictures if self.held is not None else 0,
            "unlistable": dict(self.unlistable),
            "watch": dict(self.watch),
            "pending": self.pending,
            "stopped": self.stopped,
            "elapsed_s": round(self.elapsed_s, 3),
        }

    def as_text(self) -> str:
        """Give the text for a person."""
        header = ("stage", "done", "skipped", "failed", "unrunnable")
        rows = [
            (name, *(counts[key] for key in ("success", "skipped", "failed", "unrunnable")))
            for name, counts in self.stages.items()
        ]
        parts = [table(rows, header), *self._findings(), self._alerts_line(), *unsent_lines(self.unsent)]
        kept = "Refused, so what was in force before stays so:"
        parts += [f"{kept} {printable(item.reason)}" for item in self.refused]
        if any(self.watch.values()):
            parts.append(f"Trouble with the watch: {watch_troubles(self.watch)}.")
        if self.pending:
            parts.append(f"{count(self.pending, 'datum', 'datums')} left to do, by a run at work now or by the next.")
        parts.append(f"{'Stopped after' if self.stopped else 'Done in'} {self.elapsed_s:.1f} s, run {self.run}.")
        if self.page is not None:
            is_file = self.page.startswith("/")
            parts.append(f"Open {Path(self.page).as_uri()}" if is_file else f"The page is {self.page}")
        return "\n".join(parts)

    def _unusable(self) -> list[str]:
        parts = []
        if self.invalid:
            rows = [(item["key"], item["reason"], item["sentence"]) for item in self.invalid[:INVALID_SHOWN]]
            parts += [f"Invalid: {count(len(self.invalid), 'picture')}", table(rows, ("picture", "reason", "why"))]
            if len(self.invalid) > INVALID_SHOWN:
                reasons = Counter(item["reason"] for item in self.invalid)
                listed = ", ".join(f"{number:,} {reason}" for reason, number in reasons.most_common())
                parts.append(f"... in all: {listed}")
            parts.append("")
        if self.ignored:
            parts += [f"Left alone, as they are no photographs: {count(self.ignored, 'file')}", ""]
        if self.silent_rules:
            parts += [f"Rules without a recipient, which tell nobody: {printable(', '.join(self.silent_rules))}", ""]
        if self.rule_notes:
            parts += ["Rules that do not fit:", *note_lines(self.rule_notes), ""]
        return parts

    def _findings(self) -> list[str]:
        parts = [""]
        if not self.pictures:
            parts += ["No pictures are known: the source is empty.", ""]
        if self.failures:
            rows = [(stage, key, error) for stage, key, error in self.failures[:INVALID_SHOWN]]
            parts += [f"Failed: {self.failed}", table(rows, ("stage", "picture", "why")), ""]
        parts += self._unusable()
        if self.threats:
            parts += ["Threats:", table(sorted(self.threats.items()), ("device", "threats")), ""]
        elif not self.rules:
            parts += ["No rules are in force, so nothing is a threat: give some with --rules.", ""]
        elif self.pictures:
            parts += ["No threats.", ""]
        if self.retracted:
            parts.append(f"Retracted with their deleted pictures: the results of {count(self.retracted, 'picture')}.")
        if self.held is not None:
            parts.append(f"Held back: {printable(self.held)} ({ALLOW_HINT}).")
        return [*parts, *unlistable_lines(self.unlistable)]

    def _alerts_line(self) -> str:
        made = sum(self.alerts[state] for state in ("sent", "written", "pending", "unknown", "dead"))
        if not made:
            return "Alerts: none new."
        said = [
            f"{self.alerts[state]} {state}"
            for state in ("sent", "written", "pending", "unknown", "dead")
            if self.alerts[state]
        ]
        line = f"Alerts: {', '.join(said)}"
        if self.alerts["digests"]:
            line += f", in {count(self.alerts['digests'], 'digest')}"
        if self.alerts["written"]:
            line += f"; SENDGRID_API_KEY is not set, so mails are files in {self.state / 'outbox'}"
        return line + "."


def note_lines(notes: Sequence[FitNote], most: int = NOTES_SHOWN) -> list[str]:
    """Tell of what does not fit, rules without any effect first."""
    lines = [f"  {printable(note.sentence)}" for note in gravest_first(notes)[:most]]
    return lines + ([f"  and {len(notes) - most:,} more: --json names all"] if len(notes) > most else [])


def unsent_lines(unsent: Unsent) -> list[str]:
    """Tell of all alerts that were not sent, of this run and of earlier ones; nothing where all were."""
    planned = []
    if unsent.planned and unsent.planned_at_s is not None:
        line = f"{count(unsent.planned, 'alert')} held back by their rules, the next until {when(unsent.planned_at_s)};"
        planned = [f"{line} a run, a watch or lookout alerts send after that sends them."]
    if not unsent.total:
        return planned
    counted = ", ".join(f"{number:,} {state.value}" for state, number in unsent.counts.items())
    line = f"NOT SENT: {count(unsent.total, 'alert')} ({counted})"
    if unsent.oldest_at_s is not None:
        line += f", the oldest since {when(unsent.oldest_at_s)}"
    if unsent.due_at_s is not None:
        line += f", the next due at {when(unsent.due_at_s)}"
    lines = [f"{line}." if unsent.reason is None else f"{line}. The last error: {printable(unsent.reason)}"]
    if unsent.waiting:
        lines.append("The next run sends what is due; lookout alerts list --in pending --in unknown names them.")
    if unsent.dead:
        lines.append("What was refused for good waits for you: lookout alerts list --in dead, then resend or cancel.")
    return lines + planned


def summarize(pipeline: Pipeline, opened: Deployment, ran: Ran, now_s: float) -> Summary:
    """Sum a run up from what the ledger says now. Its cost does not depend on how many pictures are known and fine."""
    ledger = opened.ledger
    counts = _counts(ledger, pipeline, ran.taken.keys)
    stages: dict[str, dict[str, int]] = {}
    for stage in pipeline.stages:
        states = counts.get(stage.name, {})
        done = ran.engine.report.success[stage.name]
        stages[stage.name] = {
            "success": done,
            "skipped": max(0, states.get(State.SUCCESS, 0) - done),
            "failed": states.get(State.FAILED, 0),
            "unrunnable": states.get(State.UNRUNNABLE, 0),
        }
    labelled = [slot.record for slot in ledger.slots("validate", labelled=True) if slot.record is not None]
    pending = sum(1 for _ in ledger.slots(states=(State.PENDING, State.RUNNING, State.KILLED)))
    alerts: dict[str, int] = {state.value: number for state, number in ledger.count_alerts(ran.run).items()}
    return Summary(
        run=ran.run,
        state=opened.path,
        page=opened.find_page(),
        stages=stages,
        failures=tuple((slot.stage, slot.key, slot.error or "") for slot in ledger.slots(states=(State.FAILED,))),
        invalid=tuple(_invalid(labelled)),
        # Only what this run was the first to leave alone: it is told of once.
        ignored=sum("ignored" in record.facts and record.run == ran.run for record in labelled),
        threats=_threats(opened),
        alerts={
            **{state: alerts.get(state, 0) for state in ("sent", "written", "pending", "unknown", "dead", "canceled")},
            "digests": ran.digests,
        },
        refused=ran.refused,
        pictures=ledger.count_inputs(pipeline.inputs),
        rules=len(ledger.references("rules")),
        silent_rules=tuple(silent_units(ledger.references("rules"))),
        rule_notes=(*FitReader(lambda: pipeline).look(ledger), *channel_notes(opened)),
        retracted=ran.taken.gone,
        held=find_held(ledger),
        unlistable=find_unlistable(ledger),
        watch=ran.troubles,
        pending=pending,
        unsent=find_unsent(ledger, now_s),
        stopped=ran.stopped,
        elapsed_s=ran.elapsed_s,
    )


def _counts(ledger: Ledger, pipeline: Pipeline, keys: Collection[str] | None) -> dict[str, dict[State, int]]:
    """Slots by stage and state: all, or, for a run of single files, theirs and all charts."""
    if keys is None:
        return ledger.count_slots([stage.name for stage in pipeline.stages])
    counts = ledger.count_slots([stage.name for stage in pipeline.stages if stage.grouped])
    for stage in pipeline.stages:
        if not stage.grouped:
            counts[stage.name] = Counter(slot.state for slot in ledger.find_slots(stage.name, keys).values())
    return counts


def _invalid(records: Iterable[Record]) -> Iterator[dict[str, str]]:
    for record in records:
        if "reason" in record.facts:
            reason, sentence = (_text(record.facts, name) for name in ("reason", "sentence"))
            yield {"key": record.key, "reason": reason, "sentence": sentence}


def _threats(opened: Deployment) -> dict[str, int]:
    threats: Counter[str] = Counter()
    for group, number in opened.ledger.sums("threats").items():
        threats[device_of(group)] += number
    return dict(sorted(threats.items()))


def _text(facts: JsonObject, name: str) -> str:
    value: Json = facts.get(name)
    return value if isinstance(value, str) else ""


UNLISTABLE_SHOWN: Final = 10


def watch_troubles(counts: Mapping[str, int]) -> str:
    """Say what went wrong with a watch: ``2 folders without events, 1 restart``."""
    words = {
        "unwatched": ("folder without events", "folders without events"),
        "missed": ("file that no event told of", "files that no event told of"),
        "restarts": ("restart", "restarts"),
        "clock_jumps": ("jump of the clock", "jumps of the clock"),
    }
    return ", ".join(count(counts[name], *text) for name, text in words.items() if counts.get(name)) or "none"


def unlistable_lines(folders: Mapping[str, str]) -> list[str]:
    """Tell of subfolders of the source that could not be listed, by key; nothing where there are none."""
    if not folders:
        return []
    shown = [f"{printable(key)}: {printable(why)}" for key, why in list(folders.items())[:UNLISTABLE_SHOWN]]
    more = f"; and {len(folders) - UNLISTABLE_SHOWN:,} more" if len(folders) > UNLISTABLE_SHOWN else ""
    said = f"NOT LISTED: {count(len(folders), 'folder')} of the source ({UNLISTABLE_HINT})"
    return [f"{said}. {'; '.join(shown)}{more}"]
