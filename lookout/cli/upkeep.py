"""``lookout upkeep``: ledger, store and source compared, and differences corrected."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lookout.app.catch_up import source_of
from lookout.app.deployment import Program
from lookout.app.device_tellings import tell_troubles
from lookout.app.maintenance import sweep_all
from lookout.app.run_summary import unlistable_lines
from lookout.cli.options import json_option, state_option
from lookout.cli.output import echo_json
from lookout.domain.errors import EXIT_OK, InputRejected, Unavailable
from lookout.maintenance.orphans import retract
from lookout.maintenance.renewal import renew
from lookout.sources.deletion_guard import ALLOW_HINT
from lookout.sources.reconcile import reconcile, reconcile_recent
from lookout.text import count

if TYPE_CHECKING:
    pass


@click.group(short_help="Compare ledger, store and source, and correct differences.")
def upkeep() -> None:
    """Find by comparison what daily work cannot notice. Meant to be run on a schedule, beside any other work.

    Datums to be done again are marked dirty; the next run, or one at work, does them.
    """


@upkeep.command("repair", short_help="Publish the named version of each result, and have lost ones made again.")
@click.option("--thorough", is_flag=True, help="Ask the store about every result instead of trusting its listing.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@state_option
@json_option
@click.pass_obj
def repair_command(program: Program, thorough: bool, dry_run: bool, state: Path | None, as_json: bool) -> None:
    """Compare what each bucket shows with what the ledger names, after late writes, crashes, or manual changes.

    A stale version is replaced by the named one; the datum of a lost result is marked to be done again. It resumes
    where it was interrupted.
    """
    with program.open(state) as opened:
        total = sweep_all(opened, remove=False, thorough=thorough, dry_run=dry_run)
    if as_json:
        said = {"objects": total.objects, "stale": total.stale, "lost": total.lost, "marked": total.marked}
        echo_json({**said, "dry_run": dry_run})
        return
    what = "to be checked" if dry_run else "corrected"
    click.echo(f"{count(total.objects, 'object')}: {total.stale:,} {what}, {total.lost:,} lost")
    if total.marked:
        click.echo(f"{count(total.marked, 'datum', 'datums')} will be done again by the next run")


@upkeep.command("retract", short_help="Find orphaned datums, whose input is no longer in the ledger.")
@click.option("--allow-deletions", is_flag=True, help="Retract even when a fifth of the source is gone.")
@click.option("--dry-run", is_flag=True, help="Only show what would be marked.")
@state_option
@json_option
@click.pass_obj
def retract_command(program: Program, allow_deletions: bool, dry_run: bool, state: Path | None, as_json: bool) -> None:
    """Find orphaned datums, whose picture the ledger does not know, and look for it in the source once more.

    A picture that is there is recorded again; the datums of others are marked, so that the next run retracts their
    results.
    """
    with program.open(state) as opened:
        done = retract(
            program.pipeline,
            opened.ledger,
            source_of(opened),
            time.time,
            allow_deletions=allow_deletions,
            dry_run=dry_run,
        )
    if as_json:
        said = {"checked": done.checked, "found": done.found, "gone": done.gone, "marked": done.marked}
        echo_json({**said, "dry_run": dry_run})
        return
    click.echo(f"{count(done.checked, 'datum', 'datums')}: pictures found again {done.found:,}, gone {done.gone:,}")
    click.echo(f"{count(done.marked, 'datum', 'datums')} {'would be' if dry_run else 'will be'} planned again")


@upkeep.command("reconcile", short_help="Compare the source with the pictures that are known.")
@click.option("--recent", is_flag=True, help="Only keys after the last one of each device: cheap, each minute.")
@click.option("--verify", is_flag=True, help="Read every picture again, whatever its listing says.")
@click.option("--allow-deletions", is_flag=True, help="Retract even when a fifth of the source is gone.")
@state_option
@json_option
@click.pass_obj
def reconcile_command(
    program: Program, recent: bool, verify: bool, allow_deletions: bool, state: Path | None, as_json: bool
) -> None:
    """Compare the whole source with the ledger, so that no picture is missed for want of an event.

    New, changed and deleted pictures are recorded. It resumes where it was interrupted. The next run, or one at work,
    does the work that follows.
    """
    if recent and (verify or allow_deletions):
        raise InputRejected("--recent neither rereads nor retracts", "lookout upkeep reconcile", "leave it out")
    with program.open(state) as opened:
        source = source_of(opened)
        if recent:
            done = reconcile_recent(
                opened.ledger, source, program.pipeline.inputs, program.installation.readers, time.time
            )
        else:
            renew(program.pipeline, opened.ledger, time.time())
            done = reconcile(
                opened.ledger,
                source,
                program.pipeline.inputs,
                program.installation.readers,
                time.time,
                verify=verify,
                allow_deletions=allow_deletions,
            )
    if as_json:
        said = {"seen": done.seen, "changed": done.changed, "gone": done.gone, "held_back": done.held}
        echo_json({**said, "resumed": done.resumed, "unlistable": dict(done.unlistable)})
    else:
        click.echo(f"{count(done.seen, 'picture')} compared: {done.changed:,} new or changed, {done.gone:,} gone")
        if done.held:
            click.echo(f"held back: {count(done.held, 'picture')} that are gone ({ALLOW_HINT})")
        for line in unlistable_lines(done.unlistable):
            click.echo(line)
    if done.held:
        sys.exit(InputRejected.exit_code)
    sys.exit(Unavailable.exit_code if done.unlistable else EXIT_OK)


@upkeep.command("devices", short_help="Look for trouble with devices, and tell the operator once.")
@state_option
@json_option
@click.pass_obj
def devices_command(program: Program, state: Path | None, as_json: bool) -> None:
    """Look for devices that are silent, flood, send nothing of use, or have a wrong clock, and keep what is found.

    LOOKOUT_OPERATOR is told once of each finding, by an alert that leaves as all others do.
    """
    with program.open(state) as opened, opened.ledger.session():
        done = tell_troubles(opened.pipeline, opened.ledger, program.settings.operator, time.time())
    if as_json:
        echo_json(asdict(done))
        return
    click.echo(
        f"{count(done.devices, 'device')}: trouble began {done.began:,}, ended {done.ended:,}, told {done.told:,}"
    )
    if program.settings.operator is None:
        click.echo("nobody is told: LOOKOUT_OPERATOR is not set", err=True)
