"""``lookout alerts``: listing, sending, resending and canceling of alerts."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from lookout.app.deployment import Deployment, Program
from lookout.app.page_status import reporting
from lookout.app.run_summary import unsent_lines
from lookout.cli.options import json_option, page_status_option, state_option
from lookout.cli.output import echo_json, echo_json_line
from lookout.domain.errors import EXIT_DATUM_FAILED, EXIT_OK, InputRejected, Unavailable
from lookout.domain.records import MAIL, Alert, AlertState
from lookout.ledger.rules.alerts import WAITING
from lookout.outbox.unsent import find_unsent
from lookout.text import count, printable, when

LEFT_ALONE: Final = (AlertState.SENT, AlertState.WRITTEN, AlertState.SENDING, AlertState.CANCELED)


@click.group(short_help="List, send, acknowledge, silence, resend and cancel alerts.")
def alerts() -> None:
    """Alerts wait in the outbox until they are sent; each is sent once."""


@alerts.command("list", short_help="List alerts in the order of their making.")
@state_option
@click.option(
    "--in",
    "states",
    type=click.Choice([one.value for one in AlertState]),
    multiple=True,
    help="Only alerts in this state; may be given several times.",
)
@click.option("--run", help="Only alerts of this run.")
@json_option
@click.pass_obj
def list_alerts(program: Program, state: Path | None, states: tuple[str, ...], run: str | None, as_json: bool) -> None:
    """List alerts; with --json, one object a line."""
    with program.open(state) as opened:
        for alert in opened.ledger.alerts(states=[AlertState(name) for name in states], run=run):
            if as_json:
                echo_json_line(alert)
                continue
            draft, made_at = alert.draft, when(alert.created_at_s)
            line = f"{alert.state.value:<9} {alert.id[:12]}  {made_at}  {draft.rule}: {draft.picture_key} -> "
            line += draft.recipient + (f"  ({alert.error})" if alert.error else "")
            click.echo(printable(line))


@alerts.command("resend", short_help="Have alerts that may not have arrived sent by the next run.")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@state_option
@json_option
@click.pass_obj
def resend(program: Program, ids: tuple[str, ...], state: Path | None, as_json: bool) -> None:
    """Have alerts sent by the next run, whatever they wait for. IDs may be shortened to what is unique.

    Alerts that were sent or written, or are being sent, stay as they are. A mail that may have arrived before says that
    it may be a repeat.
    """
    # A session, as its beginning lets go of what dead senders held.
    with program.open(state) as opened, opened.ledger.session():
        known, chosen = _choose(opened, ids)
        number = opened.ledger.resend_alerts(chosen)
    if as_json:
        echo_json({"resent": number})
        return
    click.echo(f"{count(number, 'alert')} will be sent by the next run")
    _tell_left_alone(known, chosen, number)


@alerts.command("cancel", short_help="Cancel alerts that wait or were refused.")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@state_option
@json_option
@click.pass_obj
def cancel(program: Program, ids: tuple[str, ...], state: Path | None, as_json: bool) -> None:
    """Cancel alerts that wait to be sent or repeated, or were refused for good. IDs may be shortened to what is unique.

    Alerts that were sent or written, or are being sent, stay as they are.
    """
    # A session, as its beginning lets go of what dead senders held.
    with program.open(state) as opened, opened.ledger.session():
        known, chosen = _choose(opened, ids)
        number = opened.ledger.cancel_alerts(chosen, time.time())
    if as_json:
        echo_json({"canceled": number})
        return
    click.echo(f"{count(number, 'alert')} canceled")
    _tell_left_alone(known, chosen, number)


@alerts.command("send", short_help="Send the alerts that are due.")
@click.option(
    "--max-mails",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    metavar="N",
    help="More alerts than this become one digest a recipient.",
)
@page_status_option
@state_option
@json_option
@click.pass_obj
def send(program: Program, max_mails: int, page_status: bool, state: Path | None, as_json: bool) -> None:
    """Send the alerts that are due, as every run and every worker of threat-detect does. Meant to be run on a schedule.

    Alerts that cannot be sent go on waiting: then the exit code is 75, or 1 if one was refused for good.
    """
    program.check_channel()
    with (
        program.open(state) as opened,
        reporting(opened, wanted=page_status),
        opened.ledger.session() as owner,
    ):
        waiting = [alert.draft.channel for alert in opened.ledger.alerts(states=WAITING)]
        due, mails = len(waiting), waiting.count(MAIL)
        files = program.settings.ledger is None
        if not files and program.settings.mail_service is None and 0 < due == mails:
            what = f"is not set, and {count(due, 'alert')} wait"
            raise InputRejected(what, "SENDGRID_API_KEY", "they go on waiting; LOOKOUT_SMTP_URL will do as well")
        outboxes = opened.outboxes if files else opened.services
        replace(outboxes, max_letters=max_mails).open(opened.ledger, owner).drain()
        unsent = find_unsent(opened.ledger, time.time())
    if as_json:
        echo_json({"due": due, "waiting": unsent.waiting, "unsent": unsent.as_json()})
    else:
        click.echo("\n".join([f"{count(due, 'alert')} waited, {unsent.waiting:,} wait", *unsent_lines(unsent)]))
    sys.exit(EXIT_DATUM_FAILED if unsent.dead else Unavailable.exit_code if unsent.late else EXIT_OK)


def find_alert(opened: Deployment, start: str) -> Alert:
    """Return the one alert whose id starts so. Raises InputRejected for none or several."""
    known = {alert.id: alert for alert in opened.ledger.alerts()}
    return known[_find(start, known)]


def _choose(opened: Deployment, starts: Collection[str]) -> tuple[dict[str, AlertState], set[str]]:
    """Return all alerts with their states, and those that were meant."""
    known = {alert.id: alert.state for alert in opened.ledger.alerts()}
    return known, {_find(start, known) for start in starts}


def _tell_left_alone(known: Mapping[str, AlertState], chosen: Collection[str], changed: int) -> None:
    if changed < len(chosen):
        said = Counter(known[one].value for one in chosen if known[one] in LEFT_ALONE)
        click.echo("left alone: " + ", ".join(f"{many} {name}" for name, many in said.items()), err=True)


def _find(start: str, known: Collection[str]) -> str:
    found = [alert_id for alert_id in known if alert_id.startswith(start)]
    if len(found) != 1 or not start:
        what = "no alert has this id" if not found else f"{count(len(found), 'alert')} have ids that start so"
        raise InputRejected(what, start or "''", "see lookout alerts list")
    return found[0]
