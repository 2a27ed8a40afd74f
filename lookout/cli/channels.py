"""``lookout channels``: the ways by which alerts leave, and samples sent by them."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from typing import Final

import click

from lookout.app.channel_checks import describe_mail, find_fault
from lookout.app.deployment import Program
from lookout.cli.options import json_option
from lookout.cli.output import echo_json, echo_json_line
from lookout.domain.errors import EXIT_DATUM_FAILED, EXIT_OK, InputRejected, Unavailable
from lookout.domain.records import MAIL, AlertState
from lookout.ledger.port import Delivered
from lookout.outbox.channel import Channel, Letter
from lookout.outbox.departure import Departure, uptime_s
from lookout.text import printable

_EXITS: Final = {AlertState.SENT: EXIT_OK, AlertState.WRITTEN: EXIT_OK, AlertState.DEAD: EXIT_DATUM_FAILED}
_SAID: Final = {
    AlertState.SENT: "sent",
    AlertState.DEAD: "refused for good",
    AlertState.PENDING: "not sent",
    AlertState.UNKNOWN: "perhaps sent",
}


@click.group(short_help="List the ways by which alerts leave, and try one.")
def channels() -> None:
    """Channels are set up by variables of the environment. No command reads or changes a state."""


@channels.command("list", short_help="List mail, and the channels that the environment names.")
@json_option
@click.pass_obj
def list_channels(program: Program, as_json: bool) -> None:
    """List mail, and the channels that the environment names, with what is wrong with each.

    It sends nothing, and ends with 1 if one cannot be used.
    """
    faults = 0
    for name in program.installation.load_channels().find_names(program.settings):
        fault = find_fault(program, name)
        faults += fault is not None
        said = describe_mail(program) if name == MAIL else "set up"
        if as_json:
            echo_json_line({"channel": name, "found": said if fault is None else None, "reason": fault})
        else:
            click.echo(printable(f"{name:<24} {fault or said}"))
    sys.exit(EXIT_DATUM_FAILED if faults else EXIT_OK)


@channels.command("test", short_help="Send a sample, and say what came back.")
@click.argument("name", metavar="NAME")
@click.option("--from", "sender", metavar="ADDRESS", help="The sender of a mail.")
@click.option("--to", "recipient", metavar="ADDRESS", help="The recipient of a mail.")
@json_option
@click.pass_obj
def test(program: Program, name: str, sender: str | None, recipient: str | None, as_json: bool) -> None:
    """Send a sample by the channel NAME: mail, the name of a channel, or its type and name as in webhook:home.

    The sample says that it is a test. It ends with 0 if it was accepted, with 1 if it was refused for good, and with 75
    if it was not sent or nobody knows.
    """
    full = _full_name(program, name)
    if full == MAIL and (not sender or not recipient):
        raise InputRejected("a mail needs a sender and a recipient", "--from and --to", "name both")
    if full != MAIL and (sender or recipient):
        raise InputRejected("only a mail has addresses", "--from and --to", "leave them out")
    tools = program.installation.load_channels()
    program.check_channel()
    channel = tools.open(full, program.settings, None)
    delivered = _send(channel, tools.sample(full, time.time(), sender or "", recipient or ""))
    if as_json:
        echo_json(
            {
                "channel": full,
                "state": delivered.state.value,
                "message_id": delivered.message_id,
                "error": delivered.error,
            }
        )
    else:
        said = delivered.error or delivered.message_id
        click.echo(printable(f"{full}: {_SAID[delivered.state]}" + (f": {said}" if said else "")))
    sys.exit(_EXITS.get(delivered.state, Unavailable.exit_code))


def _send(channel: Channel, letter: Letter) -> Delivered:
    request = channel.begin(letter)
    if isinstance(request, Delivered):
        return request
    with closing(request):
        return request.send(time.time(), Departure(uptime_s))


def _full_name(program: Program, name: str) -> str:
    if name == MAIL or ":" in name:
        return name
    if name not in program.settings.channels:
        raise InputRejected("no channel has this name", name, "see lookout channels list")
    return f"{program.settings.channels[name].type}:{name}"
