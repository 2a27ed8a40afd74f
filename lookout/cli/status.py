"""``lookout status``: status of a deployment, printed once or continuously."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click

from lookout.app.deployment import Deployment, Program
from lookout.app.device_words import describe
from lookout.app.run_summary import note_lines, unlistable_lines, unsent_lines, watch_troubles
from lookout.batches.cutter import ordinary
from lookout.cli.options import json_option, state_option
from lookout.cli.output import echo_json, echo_json_line
from lookout.domain.errors import EXIT_STOPPED, Unavailable
from lookout.domain.pipeline import silent_units, unit_names
from lookout.references.fit import FitReader
from lookout.reports.device_health import DeviceHealth, HealthReader, as_json
from lookout.reports.status import Backlog, Status, Waiting, look, pause_s
from lookout.sources.deletion_guard import ALLOW_HINT
from lookout.text import count, printable, span, table, when

DEVICES_SHOWN: Final = 20
_CLEAR: Final = "\033[H\033[2J"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One reading: numbers, and the model and rules in force."""

    state: Path
    source: str | None
    in_force: dict[str, list[str]]
    silent_rules: list[str]
    status: Status
    ordinary: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Return the contract of ``--json``; documented in docs/cli.md."""
        status, oldest = self.status, self.status.backlog.oldest
        backlog = {
            "pictures": status.backlog.pictures,
            "devices": {device: dict(stages) for device, stages in status.backlog.devices.items()},
            "oldest": None if oldest is None else _oldest(oldest),
            "whole": status.backlog.whole,
        }
        return {
            "state": str(self.state),
            "source": self.source,
            "pictures": status.pictures,
            "stages": {name: dict(row) for name, row in status.stages.items()},
            "in_force": {bucket: list(names) for bucket, names in self.in_force.items()},
            "silent_rules": self.silent_rules,
            "rule_notes": [note.as_json() for note in status.rule_notes],
            "alerts": dict(status.alerts),
            "unsent": status.unsent.as_json(),
            "batches": dict(status.batches),
            "backlog": backlog,
            "watch": dict(status.watch),
            "unlistable": dict(status.unlistable),
            "devices": _health_json(status.health),
            "held_back": None if status.held is None else asdict(status.held),
            "runs": status.runs,
        }

    def as_text(self) -> str:
        """Return the text for a person."""
        status = self.status
        lines = [f"source    {printable(self.source) or 'single files'}, {count(status.pictures, 'picture')}"]
        lines += [
            f"{bucket:<9} {printable(', '.join(names)) or 'none in force'}" for bucket, names in self.in_force.items()
        ]
        if self.silent_rules:
            lines.append(
                f"          {printable(', '.join(self.silent_rules))}: without a recipient, so it tells nobody"
            )
        if status.rule_notes:
            lines += ["          do not fit:", *note_lines(status.rule_notes)]
        lines.append(f"alerts    {_numbers(status.alerts)}")
        lines += unsent_lines(status.unsent)
        lines.append(f"batches   {_numbers(status.batches)}")
        if status.held is not None:
            lines.append(f"held back {printable(status.held)} ({ALLOW_HINT})")
        lines += unlistable_lines(status.unlistable)
        if any(status.watch.values()):
            lines.append(f"watch     {watch_troubles(status.watch)}")
        lines += [f"waiting   {_waiting(status)}", ""]
        columns = ("success", "failed", "unrunnable", "killed", "retracted", "running", "waiting")
        rows = [(name, *(row[column] for column in columns)) for name, row in status.stages.items()]
        lines.append(table(rows, ("stage", *columns)))
        if status.backlog.devices:
            lines += ["", _devices(status.backlog, self.ordinary)]
        lines += _trouble_lines(status)
        if status.runs:
            runs = [(run.id, run.kind, run.state, when(run.started_at_s), when(run.ended_at_s)) for run in status.runs]
            lines += ["", table(runs, ("run", "kind", "state", "started", "ended"))]
        return "\n".join(lines)


@click.command(short_help="Show what is done, waiting, failed and alerted, and the last runs.")
@state_option
@click.option(
    "--runs", "shown", type=click.IntRange(0, 1000), default=5, show_default=True, help="How many runs to show."
)
@click.option("--follow", is_flag=True, help="Refresh until Ctrl-C.")
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="With --follow: least pause between two readings.",
)
@json_option
@click.pass_obj
def status(program: Program, state: Path | None, shown: int, follow: bool, every_s: float, as_json: bool) -> None:
    """Show stages by state, what waits since when and of which device, pictures, what is in force, alerts, last runs.

    With --follow a terminal is redrawn; elsewhere all is printed again whenever something has changed, with --json as
    one object a line.
    """
    with program.open(state) as opened:
        if not follow:
            seen = _look(opened, shown, HealthReader(opened.pipeline), FitReader(opened.pipeline_in_force))
            if as_json:
                echo_json(seen.as_json())
            else:
                click.echo(seen.as_text())
            return
        try:
            _follow(opened, shown, every_s, as_json=as_json)
        except KeyboardInterrupt:
            sys.exit(EXIT_STOPPED)  # that is how one ends it: nothing need be said


def _look(opened: Deployment, shown: int, health: HealthReader, fit: FitReader) -> Seen:
    ledger = opened.ledger
    return Seen(
        state=opened.path,
        source=ledger.find_note("source"),
        in_force={bucket: unit_names(ledger.references(bucket)) for bucket in opened.installation.references},
        silent_rules=silent_units(ledger.references("rules")),
        ordinary=tuple(stage.name for stage in ordinary(opened.pipeline)),
        status=look(opened.pipeline, ledger, time.time(), runs=shown, health=health, fit=fit),
    )


def _follow(opened: Deployment, shown: int, every_s: float, *, as_json: bool) -> None:
    live = sys.stdout.isatty() and not as_json
    before: dict[str, object] | None = None
    for facts, text in _looks(opened, shown, every_s):
        if live:
            click.echo(f"{_CLEAR}{when(time.time())}\n\n{text}")
        elif facts != before and as_json:
            echo_json_line({"at_s": time.time(), **facts})
        elif facts != before:
            click.echo(f"{when(time.time())}\n{text}\n")
        before = facts


def _looks(opened: Deployment, shown: int, every_s: float) -> Iterator[tuple[dict[str, object], str]]:
    """Yield one reading after the other, as JSON and as text; an error where the ledger does not answer, as it may
    again."""
    health, fit = HealthReader(opened.pipeline), FitReader(opened.pipeline_in_force)
    while True:
        began_s = time.monotonic()
        try:
            seen = _look(opened, shown, health, fit)
        except Unavailable as error:
            yield {"error": str(error)}, f"no answer: {printable(error)}"
            time.sleep(every_s)
        else:
            took_s = time.monotonic() - began_s
            yield seen.as_json(), seen.as_text()
            time.sleep(pause_s(every_s, took_s))


def _oldest(oldest: Waiting) -> dict[str, object]:
    since_s = None if math.isinf(oldest.since_s) else oldest.since_s
    return {"stage": oldest.stage, "key": oldest.key, "since_s": since_s}


def _numbers(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in numbers.items() if number) or "none"


def _waiting(status: Status) -> str:
    backlog = status.backlog
    if backlog.oldest is None:
        return "nothing"
    said = f"{'' if backlog.whole else 'more than '}{count(backlog.pictures, 'picture')}"
    if math.isinf(backlog.oldest.since_s):
        return said
    age = span(max(0.0, status.at_s - backlog.oldest.since_s))
    return f"{said}; the oldest for {age}: {printable(backlog.oldest.key)}, in {backlog.oldest.stage}"


def _devices(backlog: Backlog, columns: Sequence[str]) -> str:
    """Return those of which most waits."""
    most = sorted(backlog.devices.items(), key=lambda item: (-max(item[1].values()), item[0]))
    rows = [(device, *(stages.get(stage, 0) for stage in columns)) for device, stages in most[:DEVICES_SHOWN]]
    text = table(rows, ("waiting of", *columns))
    return text + (f"\nand of {len(most) - DEVICES_SHOWN:,} other devices" if len(most) > DEVICES_SHOWN else "")


def _health_json(health: DeviceHealth | None) -> dict[str, object] | None:
    if health is None:
        return None
    return {"known": health.devices, "whole": health.whole, "troubles": [as_json(one) for one in health.troubles]}


def _trouble_lines(status: Status) -> list[str]:
    """Return a table of the trouble with devices: what lasts, the newest first, and then what is over."""
    health = status.health
    if health is None or not health.troubles:
        return []
    ordered = sorted(health.troubles, key=lambda one: (one.finding.end_s is not None, -one.finding.begin_s, one.device))
    rows = [
        (one.device, one.finding.kind.value, when(one.finding.begin_s), when(one.finding.end_s), describe(one.finding))
        for one in ordered[:DEVICES_SHOWN]
    ]
    lines = ["", table(rows, ("trouble with", "kind", "since", "until", "that is"))]
    if len(ordered) > DEVICES_SHOWN:
        lines.append(f"and {len(ordered) - DEVICES_SHOWN:,} more: lookout status --json names all")
    if not health.whole:
        lines.append("The pictures of some devices were not looked at: there were too many for one look.")
    return lines
