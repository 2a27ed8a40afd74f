"""``lookout verify``: an alert made again from its record, and compared."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click

from lookout.app.deployment import Deployment, Program
from lookout.cli.options import json_option, state_option
from lookout.cli.output import echo_json
from lookout.domain.errors import EXIT_DATUM_FAILED, EXIT_OK, InputRejected, ObjectChanged, ObjectMissing
from lookout.domain.pipeline import Pipeline
from lookout.domain.records import Alert
from lookout.reports.proof import Proof, Prover, Verdict
from lookout.text import printable
from lookout.version import code_version


@click.command(short_help="Make an alert again from its record, and say whether it is the same.")
@click.argument("alert", metavar="ALERT")
@state_option
@json_option
@click.pass_obj
def verify(program: Program, alert: str, state: Path | None, as_json: bool) -> None:
    """Make ALERT (its id, or how it begins) again from the picture, model and rules that its record names by digest.

    Nothing is written. Exit 0 if it comes out the same to the byte, 1 if it differs or something is not there any more.
    """
    with program.open(state) as opened:
        found = _find(opened, alert)
        prover = Prover(list(_pipelines(opened, found)), opened.ledger, opened.store, code_version())
        proof = prover.prove(found)
    if as_json:
        echo_json(_as_json(proof))
    else:
        for line in _lines(found, proof):
            click.echo(printable(line))
    sys.exit(EXIT_OK if proof.verdict is Verdict.SAME else EXIT_DATUM_FAILED)


def _find(opened: Deployment, start: str) -> Alert:
    exact = list(opened.ledger.alerts(ids=[start]))
    found = exact or list(islice((alert for alert in opened.ledger.alerts() if alert.id.startswith(start)), 2))
    if len(found) != 1 or not start:
        what = "no alert has this id" if not found else "several alerts have ids that start so"
        raise InputRejected(what, start or "''", "see lookout alerts list")
    return found[0]


def _pipelines(opened: Deployment, alert: Alert) -> Iterator[Pipeline]:
    """Yield the pipeline with each threshold, and each passes, that may have been in force; the recorded digest says
    which ones they were."""
    yield opened.pipeline_in_force()
    yield opened.pipeline
    given = alert.draft.detail.get("threshold")
    threshold = float(given) if isinstance(given, float | int) else None
    for passes in (None, _passes_of(opened, alert)):
        yield opened.pipeline_with(threshold, passes)


def _passes_of(opened: Deployment, alert: Alert) -> str | None:
    """Return the passes that were chosen for the picture, as the kept result says."""
    record = opened.ledger.find_records([alert.datum_hash]).get(alert.datum_hash)
    for ref in record.outputs if record is not None else ():
        if ref.key.endswith(".json"):
            try:
                passes = json.loads(opened.store.get(ref)).get("passes", {})
            except (ObjectMissing, ObjectChanged, ValueError):
                return None  # the proof says what is missing
            return str(passes["chosen"]) if "chosen" in passes else None
    return None


def _as_json(proof: Proof) -> dict[str, object]:
    return {
        "alert": proof.alert,
        "verdict": proof.verdict,
        "steps": proof.steps,
        "differences": proof.differences,
        "expired": proof.expired,
        "obstacles": proof.obstacles,
        "remarks": proof.remarks,
    }


def _lines(alert: Alert, proof: Proof) -> Iterator[str]:
    draft = alert.draft
    yield f"{proof.verdict.upper()}  {alert.id[:12]}  {draft.rule}: {draft.picture_key} -> {draft.recipient}"
    said = {True: "same", False: "differs", None: "not made again"}
    for step in proof.steps:
        yield f"  {said[step.same]:<14}  {step.stage} of {step.key}  [datum {step.datum[:16]}  run {step.run}]"
        if step.made_with:
            yield f"                  with {json.dumps(step.made_with)}"
    for item in proof.differences:
        yield f"  differs: {item.where}: kept {_short(item.kept)}, made {_short(item.made)}"
    for path in proof.expired:
        yield f"  expired: {path}"
    for text in (*proof.obstacles, *proof.remarks):
        yield f"  {text}"


def _short(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
