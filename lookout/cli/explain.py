"""``lookout explain``: each stage's and each rule's decision on a picture, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from lookout.app.deployment import Deployment, Program
from lookout.cli.options import PATH, gather, json_option, state_option
from lookout.cli.output import echo_json, echo_json_line, write_file
from lookout.cli.ranges import Moment
from lookout.domain.records import JsonObject
from lookout.sources.folder_keys import key_of, origin_of
from lookout.sources.ingest import SOURCE_NOTE
from lookout.text import printable


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A picture, or the pictures of a device in a span of time; and the rule that is asked for, None for all."""

    photo: str | None
    alert: str | None
    device: str | None
    since_s: float | None
    until_s: float | None
    rule: str | None


@click.command(short_help="Say why a picture was told or not, or each picture of a device.")
@click.argument("photo", required=False, metavar="[PHOTO]")
@click.option("--device", metavar="NAME", help="One line for each picture of this device instead.")
@click.option("--alert", metavar="ID", help="The pictures of the event of this alert instead.")
@click.option("--since", "since_s", type=Moment(), metavar="TIME", help="With --device: taken then or later.")
@click.option("--until", "until_s", type=Moment(), metavar="TIME", help="With --device: taken before.")
@click.option("--rule", metavar="NAME", help="Only this rule, by its name or USER|NAME.")
@click.option(
    "--picture", "drawing", type=PATH, metavar="FILE", help="Draw PHOTO into this file, with zones and all boxes."
)
@state_option
@json_option
@gather("asked", Asked)
@click.pass_obj
def explain(program: Program, asked: Asked, drawing: Path | None, state: Path | None, as_json: bool) -> None:
    """Say what each stage and each rule decided on PHOTO, a picture's key or path, and what became of its alerts.

    With --device, say it in one line a picture; with --alert, for which pictures one alert stands. Nothing is written
    but the FILE of --picture.
    """
    _check(asked, drawing)
    with program.open(state) as opened:
        explainer = program.installation.load_explainer(opened.ledger, opened.store)
        if asked.device is not None:
            for found in explainer.of_device(asked.device, asked.since_s, asked.until_s, asked.rule):
                if as_json:
                    echo_json_line(found)
                else:
                    click.echo(printable(_device_line(found, asked.rule)))
            return
        if asked.alert is not None:
            _show(explainer.of_alert(asked.alert), _event_lines, as_json=as_json)
            return
        key = _key(opened, str(asked.photo))
        answer = explainer.photo(key, asked.rule)
        drawn = None if drawing is None else explainer.drawn(key, asked.rule)
    if drawing is not None and drawn is not None:
        write_file(drawing, drawn)
    _show(answer, _lines, as_json=as_json)


def _show(answer: JsonObject, lines: Callable[[Mapping[str, Any]], Iterator[str]], *, as_json: bool) -> None:
    if as_json:
        echo_json(answer)
    else:
        for line in lines(answer):
            click.echo(printable(line))


def _check(asked: Asked, drawing: Path | None) -> None:
    if [asked.photo, asked.device, asked.alert].count(None) != 2:
        raise click.UsageError("Name a PHOTO, or a device with --device, or an alert with --alert.")
    if asked.photo is None and drawing is not None:
        raise click.UsageError("--picture draws one PHOTO.")
    if asked.device is None and (asked.since_s is not None or asked.until_s is not None):
        raise click.UsageError("--since and --until go with --device.")
    if asked.alert is not None and asked.rule is not None:
        raise click.UsageError("--alert names one alert of one rule: it does not go with --rule.")


def _key(opened: Deployment, name: str) -> str:
    """Return the key of a picture that is named by its key, or by its path below the source."""
    source = opened.ledger.find_note(SOURCE_NOTE)
    path = Path(origin_of(Path(name)))
    if source is not None and path.is_relative_to(source) and path != Path(source):
        return key_of(path.relative_to(source).as_posix())
    return name.removeprefix(f"{opened.pipeline.inputs}/")


def _lines(answer: Mapping[str, Any]) -> Iterator[str]:
    yield f"{answer['key']}: {answer['device'] or 'no device'}, {_time(answer['captured_at_s'])}"
    for stage in answer["stages"]:
        yield f"  {stage['stage']}: {stage['sentence']}"
    for rule in answer["rules"]:
        file = "gone" if rule["file"] is None else rule["file"]
        yield f"  rule {rule['rule'][1]!r} of {rule['rule'][0]} ({file}): {rule['code']}"
        yield f"    {rule['sentence']}"
        for one in () if rule["code"] == "other_device" else rule["objects"]:
            yield f"    {one['class']} {one['score']:.2f}: {one['sentence']}"
        for alert in rule["alerts"]:
            yield f"    {alert['sentence']}"
    yield from (f"  {note}" for note in answer["notes"])


def _device_line(found: Mapping[str, Any], rule: str | None) -> str:
    head = f"{_time(found['at_s'])}  {found['key']}"
    if not found["rules"]:
        return f"{head}  {found['stage']}: {found['sentence']}"
    if rule is not None:
        return f"{head}  " + "  ".join(f"{one['code']}: {one['sentence']}" for one in found["rules"])
    return f"{head}  " + "; ".join(f"{one['rule'][1]}: {one['code']}" for one in found["rules"])


def _event_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    place = "" if answer["place"] is None else f" at {answer['place']}"
    yield f"{answer['alert'][:12]}: {answer['rule'][1]} of {answer['rule'][0]}{place}, {answer['key']}"
    for title, name in (("pictures of its event", "pictures"), ("held back by it", "held_back")):
        if answer[name]:
            yield f"  {title}:"
        for one in answer[name]:
            gone = " (withdrawn)" if one["withdrawn"] else ""
            yield f"    {_time(one['t'])}  {one['key']}  {one['code']}{gone}: {one['sentence']}"
    yield f"  {answer['ended']}"


def _time(at_s: float | None) -> str:
    if at_s is None:
        return "at an unknown time"
    return datetime.fromtimestamp(at_s, UTC).isoformat(sep=" ", timespec="seconds").replace("+00:00", " UTC")
