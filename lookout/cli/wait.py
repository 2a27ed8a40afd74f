"""``lookout wait``: waiting until all datums of one picture are settled, and their ends."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Final

import click

from lookout.app.deployment import Deployment, Program, find_object
from lookout.cli.options import json_option, state_option
from lookout.cli.output import echo_json
from lookout.domain.errors import EXIT_DATUM_FAILED, EXIT_OK, InputRejected, Unavailable
from lookout.domain.records import Observation
from lookout.reports.picture_status import End, Ended, find_end
from lookout.sources.folder import observe_file
from lookout.sources.ingest import SOURCE_NOTE
from lookout.text import printable

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
_LOOK_AGAIN_S: Final = 5.0


@click.command(short_help="Wait until all stages have finished a picture, and say how it ended.")
@click.argument("object_", metavar="OBJECT")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0), metavar="SECONDS", help="Wait no longer than this. [for ever]"
)
@state_option
@json_option
@click.pass_obj
def wait(program: Program, object_: str, timeout_s: float | None, state: Path | None, as_json: bool) -> None:
    """Wait until all datums of a picture are settled in every stage. OBJECT is BUCKET/KEY.

    The picture may have been uploaded a moment ago, or be uploaded later: the command waits for its version in the
    store or folder now, not for the one that the ledger knew before. It exits with 0 on success (an invalid picture is
    an ordinary result), with 1 when a datum failed or the picture was removed, and with 75 at the time-out.
    """
    try:
        _, key = find_object(program.settings, object_, [program.pipeline.inputs])
    except InputRejected as error:
        raise InputRejected(error.what, "OBJECT", error.hint) from error
    began_s = time.monotonic()
    with program.open(state) as opened:
        ended = _wait(opened, key, None if timeout_s is None else began_s + timeout_s)
    elapsed_s = time.monotonic() - began_s
    if as_json:
        facts = {"stages": ended.stages, "labels": ended.labels, "failures": ended.failures, "alerts": ended.alerts}
        echo_json({"object": object_, "is": ended.end, **facts, "elapsed_s": round(elapsed_s, 3)})
    else:
        click.echo(printable(f"{object_}: {_text(ended)}"))
    sys.exit(EXIT_OK if ended.end is End.SUCCESS else EXIT_DATUM_FAILED)


def _wait(opened: Deployment, key: str, end_s: float | None) -> Ended:
    """Poll the ledger until the picture is settled. Raises Unavailable when the time is over. The polls get ever rarer;
    the picture may change meanwhile, so it is looked at again from time to time."""
    pause_s, look_at_s = _FIRST_PAUSE_S, 0.0
    while True:
        if time.monotonic() >= look_at_s:
            now, look_at_s = _find_now(opened, key), time.monotonic() + _LOOK_AGAIN_S
        ended = find_end(opened.pipeline, opened.ledger, key, now)
        if ended is not None:
            return ended
        left_s = math.inf if end_s is None else end_s - time.monotonic()
        if left_s <= 0:
            raise Unavailable(f"{opened.pipeline.inputs}/{key}", _why(opened, key))
        time.sleep(min(pause_s, left_s))
        pause_s = min(_LONGEST_PAUSE_S, pause_s * 1.5)


def _find_now(opened: Deployment, key: str) -> Observation | None:
    """Observe the key now; None if that is impossible: this user may not read the bucket, or the source is single
    files."""
    if opened.bucket is not None:
        from lookout.domain.errors import Denied

        try:
            return opened.bucket.observe(key, time.time())
        except Denied:
            return None
    root = opened.ledger.find_note(SOURCE_NOTE)
    return None if root is None else observe_file(Path(root), key, opened.pipeline.inputs, time.time())


def _why(opened: Deployment, key: str) -> str:
    """Return what a picture still waits for at the time-out."""
    for stage in opened.pipeline.stages:
        slot = None if stage.grouped else opened.ledger.find_slots(stage.name, [key]).get(key)
        if slot is not None and slot.dirty:
            return f"timed out; {stage.name} is {slot.state.value}"
    return "timed out; the ledger does not know this version of the picture yet"


def _text(ended: Ended) -> str:
    """One line."""
    parts = [f"{stage}: {error}" for stage, error in ended.failures.items()]
    parts += [] if parts else list(dict.fromkeys(ended.labels.values()))
    if ended.alerts:
        parts.append("alerts: " + ", ".join(f"{number} {state}" for state, number in ended.alerts.items()))
    return ended.end.value + (f" ({'; '.join(parts)})" if parts else "")
