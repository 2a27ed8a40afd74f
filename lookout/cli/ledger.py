"""``lookout ledger``: backup, restore and size of the ledger."""

from __future__ import annotations

import time
from pathlib import Path

import click

from lookout.app.deployment import Program
from lookout.app.state_identity import LEDGER_FILE
from lookout.cli.options import PATH, json_option, state_option
from lookout.cli.output import echo_json
from lookout.domain.errors import InputRejected
from lookout.domain.records import JsonObject, State
from lookout.ledger.backup.file import Archived, backup, inspect, restore
from lookout.text import count, printable, table, when
from lookout.version import code_version


@click.group(short_help="Back up or restore the ledger, begin a new one, show its size.")
def ledger() -> None:
    """The ledger is the truth about what was done and who was told. Its backup is one file, for any backend.

    Results and photographs are not in it: save the store beside it.
    """


@ledger.command("backup", short_help="Write the whole ledger into one file, without stopping work.")
@click.argument("file", type=PATH, metavar="FILE")
@state_option
@json_option
@click.pass_obj
def backup_command(program: Program, file: Path, state: Path | None, as_json: bool) -> None:
    """Write a snapshot of the ledger into FILE, which must be new. Work need not stop for it."""
    with program.open(state) as opened:
        archived = backup(opened.ledger, file, now_s=time.time(), code=code_version())
    _say(file, archived, "saved", as_json)


@ledger.command("restore", short_help="Fill an empty ledger from a backup.")
@click.argument("file", type=PATH, metavar="FILE")
@state_option
@json_option
@click.pass_obj
def restore_command(program: Program, file: Path, state: Path | None, as_json: bool) -> None:
    """Fill an empty ledger, of a new state folder or a new prefix, from FILE, which is checked to its end first.

    Work in progress at the time of the backup is free to be done again; what was sent is not sent again.
    """
    inspect(file)  # before a state folder is made for it
    with program.open(state, create=True, anew=True) as opened:
        archived = restore(opened.ledger, file)
        opened.begin_anew()
    _say(file, archived, "restored", as_json)
    click.echo("next: lookout upkeep repair, which finds results that the store has lost", err=True)


@ledger.command("new", short_help="Begin with an empty ledger after a loss.")
@state_option
@click.pass_obj
def new_command(program: Program, state: Path | None) -> None:
    """Begin with an empty ledger in a state whose ledger is lost and of which there is no backup.

    Every picture is done again. What the journal beside the ledger says was sent is not sent again. A damaged ledger
    has to be moved away first.
    """
    file = (state or program.settings.state) / LEDGER_FILE
    if program.settings.ledger is None and file.exists() and file.stat().st_size:
        raise InputRejected(
            "a ledger exists already", str(file), "if it is unusable, move it and its -wal and -shm away"
        )
    with program.open(state, create=True, anew=True) as opened:
        if any(sum(states.values()) for states in opened.ledger.count_slots().values()):
            raise InputRejected("the ledger is not empty", "LOOKOUT_LEDGER", "give another prefix")
        opened.begin_anew()
    click.echo("next: lookout run with all rules and the model, then lookout gc", err=True)


@ledger.command("size", short_help="Show how much the ledger keeps.")
@state_option
@json_option
@click.pass_obj
def size_command(program: Program, state: Path | None, as_json: bool) -> None:
    """Show how many inputs, slots, records, paths, alerts and runs the ledger keeps, and the bytes it takes."""
    with program.open(state) as opened:
        size = opened.ledger.size()
        slots = opened.ledger.count_slots()
    named: JsonObject = {
        "inputs": size.inputs,
        "slots": size.slots,
        "records": size.records,
        "paths": size.paths,
        "alerts": size.alerts,
        "runs": size.runs,
        "bytes": size.used_bytes,
    }
    if as_json:
        stages = {stage: {one.value: states.get(one, 0) for one in State} for stage, states in slots.items()}
        echo_json({**named, "stages": stages})
        return
    rows = [(name, "-" if number is None else number) for name, number in named.items()]
    click.echo(table(rows, ("what", "number")))


def _say(file: Path, archived: Archived, what: str, as_json: bool) -> None:
    if as_json:
        echo_json(
            {
                "file": str(file),
                "made_at_s": archived.made_at_s,
                "code": archived.code,
                "entries": archived.entries,
                "sha256": archived.sha256,
                "bytes": archived.size_bytes,
            }
        )
        return
    total = sum(archived.entries.values())
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in archived.entries.items())
    click.echo(
        printable(f"{what}: {count(total, 'entry', 'entries')} of {when(archived.made_at_s)} ({kinds})")
        + f"\n{printable(file)}, {archived.size_bytes:,} bytes, sha256 of the content {archived.sha256}"
    )
