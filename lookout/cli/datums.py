"""``lookout datums``: single datums, listed, shown, retried and invalidated."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import click

from lookout.app.deployment import Deployment, Program
from lookout.app.ranges import Range, invalidate_range, marks
from lookout.cli.options import STAGE, gather, json_option, state_option
from lookout.cli.output import echo_json, echo_json_line
from lookout.cli.ranges import range_options
from lookout.domain.errors import InputRejected
from lookout.domain.identity import digest
from lookout.domain.records import JsonObject, Slot, State
from lookout.ledger.port import Ledger
from lookout.text import count, printable, when

STATES = click.Choice([state.value for state in State])


@click.group(short_help="List, show, retry and invalidate single datums.")
def datums() -> None:
    """A datum is one stage's work on one picture.

    STAGE is validate, object-detect, threat-detect or plot. KEY is the picture's path below the source; plot's are
    <device>/<day>, and '' is its overview.
    """


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """Datums to list, as the options name them."""

    stage: str | None
    states: tuple[str, ...]
    prefix: str
    labelled: bool
    after: tuple[str, str]

    def find(self, ledger: Ledger) -> Iterator[Slot]:
        states = [State(name) for name in self.states]
        return ledger.slots(self.stage, states=states, prefix=self.prefix, labelled=self.labelled, after=self.after)


@datums.command("list", short_help="List datums, streamed in the order of stage and key.")
@state_option
@click.option("--stage", type=STAGE, help="Only datums of this stage.")
@click.option(
    "--in", "states", type=STATES, multiple=True, help="Only datums in this state; may be given several times."
)
@click.option("--prefix", default="", help="Only datums whose key starts with this.")
@click.option("--labelled", is_flag=True, help="Only remarkable ones: invalid pictures, threats.")
@click.option("--after", nargs=2, default=("", ""), metavar="STAGE KEY", help="Continue after this stage and key.")
@click.option("--limit", type=click.IntRange(1), help="At most this many.")
@json_option
@gather("wanted", _Wanted)
@click.pass_obj
def list_datums(program: Program, state: Path | None, wanted: _Wanted, limit: int | None, as_json: bool) -> None:
    """List datums; with --json, one object a line, so that any number can be piped on."""
    with program.open(state) as opened:
        for slot in islice(wanted.find(opened.ledger), limit):
            if as_json:
                echo_json_line(_brief(slot))
            else:
                label = slot.record.label if slot.record is not None else None
                name = printable(slot.key) or "(overview)"
                said = printable(slot.error or label)
                click.echo(f"{slot.state.value:<10} {slot.stage:<14} {name}  {said}".rstrip())


@datums.command("show", short_help="Show everything about one datum.")
@click.argument("stage", type=STAGE, metavar="STAGE")
@click.argument("key")
@state_option
@json_option
@click.pass_obj
def show(program: Program, stage: str, key: str, state: Path | None, as_json: bool) -> None:
    """Show one datum: its state, tries and error, what it read and made, when, and by which run and code."""
    with program.open(state) as opened:
        slot = _find(opened, stage, key)
    if as_json:
        echo_json(slot)
        return
    tries = count(slot.tries, "failed try", "failed tries")
    click.echo(f"{slot.stage} of {printable(slot.key) or 'all groups'}: {slot.state.value}, {tries}")
    if slot.error:
        click.echo(f"error     {printable(slot.error)}")
    if slot.record is None:
        return
    record = slot.record
    click.echo(f"datum     {record.hash}\nrun       {record.run}\ncode      {record.code}")
    click.echo(
        f"finished  {when(record.finished_at_s)} after {(record.finished_at_s - record.started_at_s) * 1000:.0f} ms"
    )
    for item in record.inputs:
        click.echo(
            f"read      {printable(item.ref.path)} as {item.role}, {item.ref.size:,} bytes, sha256 {item.ref.sha256}"
        )
    for ref in record.outputs:
        click.echo(f"made      {printable(ref.path)}, {ref.size:,} bytes, sha256 {ref.sha256}")


@datums.command("retry", short_help="Retry failed datums in the next run.")
@click.argument("stage", type=STAGE, required=False, metavar="STAGE")
@click.argument("key", required=False)
@state_option
@json_option
@click.pass_obj
def retry(program: Program, stage: str | None, key: str | None, state: Path | None, as_json: bool) -> None:
    """Have failed datums retried, with all their attempts: one, those of a stage, or all."""
    with program.open(state) as opened:
        if key is not None and stage is not None:
            found: Iterable[Slot] = [_find(opened, stage, key)]
        else:
            found = opened.ledger.slots(stage, states=[State.FAILED])
        number = opened.ledger.mark(marks(found), revive=True)
    _say(number, "will be tried again by the next run", as_json)


@datums.command("invalidate", short_help="Have finished datums done again in the next run.")
@click.argument("stage", type=STAGE, required=False, metavar="STAGE")
@click.argument("key", required=False)
@range_options
@click.option("--all", "everything", is_flag=True, help="All of the stage, or of all stages.")
@state_option
@json_option
@click.pass_obj
def invalidate(
    program: Program,
    stage: str | None,
    key: str | None,
    chosen: Range,
    everything: bool,
    state: Path | None,
    as_json: bool,
) -> None:
    """Have finished datums done again by the next run, although their inputs have not changed.

    One datum, those of a prefix or of a time (or of both), or all; of one stage, or, without STAGE, of all stages.
    """
    if (key is not None) + (not chosen.is_all) + everything != 1:
        what = "expected one of a key, --all, and --prefix, --since or --until"
        raise InputRejected(what, "lookout datums invalidate")
    with program.open(state) as opened:
        salt = digest("invalidate/1", time.time_ns())[:16]
        if key is not None and stage is not None:
            number = opened.ledger.mark(marks([_find(opened, stage, key)]), revive=True, salt=salt)
        else:
            number = invalidate_range(opened, stage, chosen, salt)
    _say(number, "will be done again by the next run", as_json)


def _find(opened: Deployment, stage: str, key: str) -> Slot:
    slot = opened.ledger.find_slots(stage, [key]).get(key)
    if slot is None:
        raise InputRejected(f"{stage} has no datum of {key!r}", "lookout datums", "see lookout datums list")
    return slot


def _brief(slot: Slot) -> JsonObject:
    record = slot.record
    return {
        "stage": slot.stage,
        "key": slot.key,
        "state": slot.state.value,
        "hash": slot.hash,
        "waiting": slot.dirty > 0,
        "tries": slot.tries,
        "error": slot.error,
        "label": record.label if record is not None else None,
        "outputs": [ref.path for ref in record.outputs] if record is not None else [],
        "run": record.run if record is not None else None,
    }


def _say(number: int, what: str, as_json: bool) -> None:
    if as_json:
        echo_json({"marked": number})
    else:
        click.echo(f"{count(number, 'datum', 'datums')} {what}")
