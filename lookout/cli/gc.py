"""``lookout gc``: removal of orphaned results and old versions."""

from __future__ import annotations

import time
from pathlib import Path

import click

from lookout.app.deployment import Program
from lookout.app.maintenance import sweep_all
from lookout.cli.options import duration_s, json_option, state_option
from lookout.cli.output import echo_json
from lookout.text import count


@click.command(short_help="Remove orphaned results and old versions.")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option(
    "--grace",
    "grace_s",
    callback=duration_s,
    default="1h",
    show_default=True,
    metavar="TIME",
    help="Keep orphans that are younger, such as work in progress.",
)
@click.option(
    "--older-than",
    "older_than_s",
    callback=duration_s,
    metavar="TIME",
    help="Also free versions that were replaced or removed longer ago than this.",
)
@state_option
@json_option
@click.pass_obj
def gc(
    program: Program,
    dry_run: bool,
    grace_s: float,
    older_than_s: float | None,
    state: Path | None,
    as_json: bool,
) -> None:
    """Remove orphans from the buckets of the stages: results that no live record names, left by crashes, late writes,
    or people.

    It can run at any time and beside any other work, and resumes where it was interrupted. Removed results stay
    readable as old versions until these are freed.
    """
    with program.open(state) as opened:
        total = sweep_all(opened, repair=False, grace_s=grace_s, dry_run=dry_run)
        freed = None
        if older_than_s is not None and not dry_run:
            freed = opened.store.collect(time.time() - older_than_s)
    if as_json:
        said = {"objects": total.objects, "orphans": total.orphans, "orphan_bytes": total.orphan_bytes}
        echo_json({**said, "young": total.young, "removed": total.removed, "versions_freed": freed, "dry_run": dry_run})
        return
    would = "would be removed" if dry_run else "removed"
    number = total.orphans - total.young if dry_run else total.removed
    click.echo(
        f"{count(total.objects, 'object')}, {total.orphans:,} that no record names ({total.orphan_bytes:,} bytes): "
        f"{number:,} {would}, {total.young:,} too young"
    )
    if freed is not None:
        click.echo(f"{count(freed, 'old version')} freed")
