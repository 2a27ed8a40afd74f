"""Checks of channels: whether those that rules and alerts name are set up in this environment. Sends nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lookout.app.deployment import Deployment, Program
from lookout.app.health_checks import Check
from lookout.domain.errors import InputRejected
from lookout.domain.records import MAIL, JsonObject
from lookout.domain.rule_fit.records import FitNote, Kind
from lookout.ledger.rules.alerts import WAITING


def find_fault(program: Program | Deployment, name: str) -> str | None:
    """Return why the channel cannot be opened; None if it can. Mail without a service becomes files, which is no
    fault."""
    settings = program.settings
    if name == MAIL and settings.mail_service is None:
        return None
    try:
        program.installation.load_channels().open(name, settings, None)
    except InputRejected as exc:
        return str(exc)
    return None


def describe_mail(program: Program) -> str:
    """Return the way by which mail leaves."""
    settings = program.settings
    if settings.smtp is not None:
        return f"by the mail server {settings.smtp.host}:{settings.smtp.port}"
    return "by SendGrid" if settings.mail_service else "no service set: mails become .eml files in the state folder"


def check_channels(program: Program) -> Iterator[Check]:
    """Yield the way of mail, and each channel that the environment names."""
    yield Check(name="mail", ok=True, found=describe_mail(program))
    for name in program.installation.load_channels().find_names(program.settings):
        fault = find_fault(program, name)
        if name != MAIL or fault is not None:
            yield Check(name="channel", ok=fault is None, found=fault or name, hint="see docs/channels.md")


def check_named(program: Program, opened: Deployment) -> Iterator[Check]:
    """Yield a warning for each channel that a rule in force or a waiting alert names and that is not set up here."""
    rules = {name for bucket in opened.installation.references for name in rule_channels(opened, bucket)}
    waiting = {alert.draft.channel for alert in opened.ledger.alerts(states=WAITING)} - {MAIL}
    for name in sorted(rules | waiting):
        fault = find_fault(program, name)
        if fault is not None:
            who = "rules in force name it" if name in rules else "alerts wait for it"
            hint = "set the variable where alerts are sent"
            yield Check(name="channel", ok=True, warning=True, found=f"{name}: {fault}; {who}", hint=hint)


def channel_notes(opened: Deployment) -> Iterator[FitNote]:
    """Give a note for each channel that a rule file names and that is not set up in this process, which sends."""
    for reference in opened.ledger.references("rules"):
        for name in sorted(named_in(reference.meta)):
            fault = find_fault(opened, name)
            if fault is not None:
                what = f"the channel {name} is not set up here, so its alerts wait: {fault}"
                yield FitNote(kind=Kind.CHANNEL, file=reference.name, rule=None, what=what)


def rule_channels(opened: Deployment, bucket: str) -> set[str]:
    """Return the channels beside mail that the references of a bucket name, as their ``meta`` says."""
    return {name for reference in opened.ledger.references(bucket) for name in named_in(reference.meta)}


def named_in(file: JsonObject) -> set[str]:
    """Return the channels beside mail that the ``rules`` of a file name, each rule in its ``channels``."""
    rules = file.get("rules")
    found: set[str] = set()
    for rule in rules if isinstance(rules, Sequence) else ():
        channels = rule.get("channels") if isinstance(rule, Mapping) else None
        found |= {str(name) for name in channels} if isinstance(channels, Sequence) else set()
    return found
