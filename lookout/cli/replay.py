"""``lookout replay``: what other rules would have told, and a check of what was decided."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from lookout.app.deployment import Program
from lookout.app.installation import Replayer
from lookout.cli.options import PATH, gather, json_option, state_option
from lookout.cli.output import echo_json, echo_json_line, write_file
from lookout.cli.ranges import Moment
from lookout.domain.errors import EXIT_DATUM_FAILED, EXIT_OK
from lookout.text import printable, table

_LISTED: Final = 20
_KEPT: Final = 200
"""Pictures that differ, of each side, that are kept for the page; the others are counted."""
_TITLES: Final = {"only_before": "Told before and not now", "only_now": "Told now and not before"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Rules, None for those in force, and the pictures by time and device."""

    rules: Path | None
    since_s: float | None
    until_s: float | None
    device: str | None


@click.command(short_help="Say what other rules would have told, or fold what was decided again.")
@click.option("--rules", type=PATH, metavar="PATH", help="A rule file, or a folder of them. [those in force]")
@click.option("--since", "since_s", type=Moment(), metavar="TIME", help="Only pictures taken then or later.")
@click.option("--until", "until_s", type=Moment(), metavar="TIME", help="Only pictures taken before.")
@click.option("--device", metavar="GLOB", help="Only pictures of these devices.")
@click.option("--html", "page", type=PATH, metavar="FILE", help="Write a page with the pictures that differ, too.")
@click.option("--check", is_flag=True, help="Fold the kept decisions again instead, and compare them with the ledger.")
@state_option
@json_option
@gather("asked", Asked)
@click.pass_obj
def replay(program: Program, asked: Asked, page: Path | None, check: bool, state: Path | None, as_json: bool) -> None:
    """Judge the kept detections by the rules at PATH, as if each picture had arrived at once, and say what would have
    been told and what not, against what was. Nothing is sent, and nothing is written but the FILE of --html.

    With --check it ends with 1 and the first difference if a decision does not come out as it was kept.
    """
    choices = (asked.rules, asked.since_s, asked.until_s, asked.device, page)
    if check and any(one is not None for one in choices):
        raise click.UsageError("--check takes all decisions as they were made: it goes with no other choice.")
    with program.open(state) as opened:
        replayer = program.installation.load_replayer(opened.ledger, opened.store)
        if check:
            sys.exit(_check(replayer, as_json=as_json))
        _replay(replayer, asked, page, as_json=as_json)


def _check(replayer: Replayer, *, as_json: bool) -> int:
    found: Mapping[str, Any] = replayer.check()
    if as_json:
        echo_json(found)
    else:
        for line in _check_lines(found):
            click.echo(printable(line))
    return EXIT_OK if found["difference"] is None else EXIT_DATUM_FAILED


def _check_lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"{found['groups']} groups, {found['same']} decisions come out the same, {found['unknown']} cannot be known."
    for one in found["reasons"]:
        yield f"  {'|'.join(one['rule'])} at {one['place']}: {one['unknown']} unknown: {one['reason']}"
    one = found["difference"]
    if one is not None:
        where = f", decision {one['n']}, {one['key']}" if "n" in one else ""
        yield f"DIFFERS  {'|'.join(one['rule'])} at {one['place']}{where}: {one['where']}:"
        yield f"  kept {one['kept']}"
        yield f"  made {one['made']}"


def _replay(replayer: Replayer, asked: Asked, page: Path | None, *, as_json: bool) -> None:
    days: list[Mapping[str, Any]] = []
    differing: list[Mapping[str, Any]] = []
    seen = dict.fromkeys(_TITLES, 0)
    for found in replayer.replay(asked.rules, asked.since_s, asked.until_s, asked.device):
        if as_json:
            echo_json_line(found)
        if "day" in found:
            days.append(found)
        elif "note" in found:
            click.echo(f"lookout: {found['note']}", err=True)
        elif (difference := found["difference"]) is not None:
            seen[str(difference)] += 1
            differing += [found] if seen[str(difference)] <= _KEPT else []
    if page is not None:
        write_file(page, replayer.page(days, differing))
    if not as_json:
        for line in _lines(days, differing):
            click.echo(line)


def _lines(days: Sequence[Mapping[str, Any]], differing: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = ("rule", "day", "matches", "told", "was_told", "only_now", "only_before")
    if not days:
        yield "No picture matches, and none did."
        return
    yield table([[one[name] for name in names] for one in days], [name.replace("_", " ") for name in names])
    for difference, title in _TITLES.items():
        some = [one for one in differing if one["difference"] == difference][:_LISTED]
        count = sum(day[difference] for day in days)
        if some:
            yield f"{title}: {count}"
        for one in some:
            was = "no match" if one["was"] is None else one["was"]["code"]
            yield printable(f"  {one['rule']}  {one['key']}: {was} -> {one['code']}: {one['sentence']}")
        if count > len(some):
            yield f"  and {count - len(some)} more; --json has all"
