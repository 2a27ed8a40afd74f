"""``lookout alerts show``, ``ack``, ``snooze``, ``silence``, ``silences`` and ``unsilence``: what a person does about
alerts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from lookout.app.deployment import Program
from lookout.cli.alerts import alerts, find_alert
from lookout.cli.options import duration_s, gather, json_option, state_option
from lookout.cli.output import echo_json, echo_json_line
from lookout.cli.ranges import Moment
from lookout.domain.errors import InputRejected
from lookout.domain.policy.records import Silence
from lookout.ledger.rules.decisions import acknowledge
from lookout.ledger.silences import end_silences, find_silences, make_silence
from lookout.text import printable, when

F = TypeVar("F", bound=Callable[..., Any])

_BY = click.option("--by", default=None, metavar="NAME", help="Who does it; kept, and shown to others.")


@dataclass(frozen=True, kw_only=True)
class _About:
    """Devices of a silence, who makes it and why."""

    devices: tuple[str, ...]
    by: str | None
    why: str | None

    def silence(self, rule: str, from_s: float, until_s: float) -> Silence:
        """Return a silence without an id, of the rules that the glob names."""
        glob = rule if "|" in rule or rule == "*" else f"*|{rule}"
        devices = self.devices or ("*",)
        return Silence(id="", from_s=from_s, until_s=until_s, rule=glob, devices=devices, by=self.by, why=self.why)


def _about_a_silence(function: F) -> F:
    """Add ``--device``, ``--by`` and ``--why``; the command takes them as ``about``."""
    function = gather("about", _About)(function)
    function = click.option("--why", default=None, metavar="TEXT", help="Reason that is kept with it.")(function)
    function = _BY(function)
    return click.option(
        "--device",
        "devices",
        multiple=True,
        metavar="GLOB",
        help="Only pictures of these devices; may be given several times. Default: all.",
    )(function)


@alerts.command("show", short_help="Show one alert.")
@click.argument("id_", metavar="ID")
@state_option
@json_option
@click.pass_obj
def show(program: Program, id_: str, state: Path | None, as_json: bool) -> None:
    """Show one alert with its state, its picture and what holds it back. The ID may be shortened to what is unique."""
    with program.open(state) as opened:
        alert = find_alert(opened, id_)
    if as_json:
        echo_json(alert)
        return
    draft = alert.draft
    lines = [
        f"alert     {alert.id}",
        f"state     {alert.state.value}" + (f", due at {when(alert.due_at_s)}" if alert.due_at_s else ""),
        f"made      {when(alert.created_at_s)}",
        f"rule      {draft.rule} of {draft.user}",
        f"recipient {draft.recipient}",
        f"picture   {draft.picture_key}",
        f"evidence  {alert.evidence.path}",
    ]
    lines += [f"summary   {alert.summary}"] if alert.summary else []
    lines += [f"error     {alert.error}"] if alert.error else []
    click.echo("\n".join(map(printable, lines)))


@alerts.command("ack", short_help="Acknowledge the event of an alert.")
@click.argument("id_", metavar="ID")
@_BY
@state_option
@json_option
@click.pass_obj
def ack(program: Program, id_: str, by: str | None, state: Path | None, as_json: bool) -> None:
    """Acknowledge the event of an alert: nobody else is told of it, and nothing more of it, however long it lasts.

    Only alerts of rules of version 2 have events. The next event is told as ever.
    """
    with program.open(state) as opened, opened.ledger.session():
        alert = find_alert(opened, id_)
        if alert.place is None:
            raise InputRejected("a rule of version 1 has no events to acknowledge", alert.id[:12], "see docs/rules.md")
        done = opened.ledger.amend_policy(lambda unit: acknowledge(unit, alert, by or "", time.time()))
    if as_json:
        echo_json({"alert": alert.id, "acknowledged": done})
    elif done:
        click.echo("acknowledged: nothing more of this event is told")
    else:
        click.echo("its event was acknowledged before, or is over for long")


@alerts.command("snooze", short_help="Silence a rule from now on, for some time.")
@click.argument("rule", metavar="RULE")
@click.option("--for", "for_s", required=True, callback=duration_s, metavar="TIME", help="How long, such as 2h.")
@_about_a_silence
@state_option
@json_option
@click.pass_obj
def snooze(program: Program, rule: str, for_s: float, about: _About, state: Path | None, as_json: bool) -> None:
    """Silence the rule of this name from now on. Pictures that are taken in that time tell nothing by it."""
    now_s = time.time()
    _make(program, state, about.silence(rule, now_s, now_s + for_s), as_json=as_json)


@alerts.command("silence", short_help="Silence rules from one time to another.")
@click.option("--rule", default="*", show_default=True, metavar="GLOB", help="Names of rules, or USER|NAME.")
@click.option("--from", "from_s", type=Moment(), required=True, metavar="TIME", help="First moment: ISO time or date.")
@click.option("--until", "until_s", type=Moment(), required=True, metavar="TIME", help="First moment after it.")
@_about_a_silence
@state_option
@json_option
@click.pass_obj
def silence(
    program: Program,
    rule: str,
    from_s: float,
    until_s: float,
    about: _About,
    state: Path | None,
    as_json: bool,
) -> None:
    """Silence rules of version 2: pictures that are taken in that time tell nothing by them.

    They stay in their events. When an event goes on after the silence, its next picture is told at once.
    """
    if from_s >= until_s:
        raise InputRejected("the silence ends before it begins", "--until", "give a later time")
    _make(program, state, about.silence(rule, from_s, until_s), as_json=as_json)


@alerts.command("silences", short_help="List silences.")
@click.option("--all", "everything", is_flag=True, help="Those that are over, too.")
@state_option
@json_option
@click.pass_obj
def silences(program: Program, everything: bool, state: Path | None, as_json: bool) -> None:
    """List silences in the order in which they were made; with --json, one object a line."""
    now_s = time.time()
    with program.open(state) as opened:
        found = find_silences(opened.ledger)
    for one in found:
        is_over = one.until_s <= now_s or one.ended_at_s is not None
        if is_over and not everything:
            continue
        if as_json:
            echo_json_line(one)
        else:
            click.echo(printable(_told(one)))


@alerts.command("unsilence", short_help="End silences early.")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@state_option
@json_option
@click.pass_obj
def unsilence(program: Program, ids: tuple[str, ...], state: Path | None, as_json: bool) -> None:
    """End silences now, before their time."""
    with program.open(state) as opened, opened.ledger.session():
        ended = end_silences(opened.ledger, ids, time.time())
    if as_json:
        echo_json({"ended": [one.id for one in ended]})
    else:
        click.echo("ended: " + ", ".join(one.id for one in ended))


def _make(program: Program, state: Path | None, wanted: Silence, *, as_json: bool) -> None:
    with program.open(state) as opened, opened.ledger.session():
        made = make_silence(opened.ledger, wanted, time.time())
    if as_json:
        echo_json(made)
    else:
        click.echo(printable(_told(made)))


def _told(one: Silence) -> str:
    line = f"{one.id:<4} {when(one.from_s)} to {when(one.until_s)}  rules {one.rule}  devices {', '.join(one.devices)}"
    line += f"  by {one.by}" if one.by else ""
    line += f"  ({one.why})" if one.why else ""
    return line + (f"  ended {when(one.ended_at_s)}" if one.ended_at_s is not None else "")
