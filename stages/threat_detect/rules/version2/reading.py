"""From the bytes of a rule file of version 2 to rules: resolves classes, and refuses fields that do not fit each other.

Each refusal is a sentence that names file, place and field.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from lookout.domain.channel_names import NAME_RULE, is_channel_name
from lookout.domain.errors import InputRejected
from lookout.domain.policy.records import Policy, Static
from stages.strict_json import path, printable, read, show
from stages.threat_detect.rules.classes import ClassRef, Place, check_once, resolve
from stages.threat_detect.rules.schema import problems
from stages.threat_detect.rules.select import watches
from stages.threat_detect.rules.version2 import notes
from stages.threat_detect.rules.version2.form import (
    FORMS,
    ChannelForm,
    ClockForm,
    RuleForm2,
    RulesForm2,
    StaticForm,
    WantedForm,
    ZoneForm,
)
from stages.threat_detect.rules.version2.polygon import EDGE, area, find_crossing
from stages.threat_detect.rules.version2.rule import (
    ClockRule,
    MailChannel,
    OtherChannel,
    Rule2,
    RuleFile2,
    Wanted,
    Zone,
)
from stages.threat_detect.rules.version2.spans import Span, WallClock, covers_week
from stages.time_zones import find_zone

SCHEMA_FILE: Final = "rules-2.schema.json"
MAX_REORDER_S: Final = 90.0
MAX_RULES_OF_A_DEVICE: Final = 40


def schema_text() -> str:
    """Return the JSON Schema of rule files of version 2."""
    return files("stages.threat_detect.rules.version2").joinpath(SCHEMA_FILE).read_text(encoding="utf-8")


def parse(name: str, data: bytes) -> RuleFile2:
    """Return the rules of one file of version 2. Raises InputRejected with a sentence that names file, place and
    field."""
    try:
        return parse_tree(read(data))
    except InputRejected as exc:
        raise exc.within(printable(name)) from exc


def parse_tree(tree: object, *, trial: bool = False) -> RuleFile2:
    """Return the rules of a document. Raises InputRejected whose ``where`` is the place in it.

    A ``trial`` may ask what a setting would do: a ``reorder`` that is too large is a note then.
    """
    if not isinstance(tree, dict):
        raise InputRejected(f'expected an object with "rules", got {show(tree)}')
    try:
        form = RulesForm2.model_validate(tree)
    except ValidationError as exc:
        raise InputRejected(problems(exc, FORMS)) from exc
    rules: list[Rule2] = []
    said = list(notes.find(form))
    for number, written in enumerate(form.rules):
        for other, rule in enumerate(rules):
            if rule.identity == (written.user, written.name):
                what = f"user {show(rule.user)} has a rule {show(rule.name)} in rules[{other}] too"
                raise InputRejected(what, path(("rules", number, "name")))
        too_large = _find_too_large(written, ("rules", number))
        if too_large is not None and not trial:
            raise too_large
        said += [str(too_large)] if too_large is not None else []
        rules.append(_rule(written, form, ("rules", number)))
    check_rules_of_a_device(rules)
    for site, globs in form.sites.items():
        check_once(globs, ("sites", site))
    return RuleFile2(
        sites={name: tuple(globs) for name, globs in form.sites.items()},
        clocks=tuple(_clock(clock, ("clocks", number)) for number, clock in enumerate(form.clocks)),
        rules=tuple(rules),
        notes=tuple(said),
    )


def check_rules_of_a_device(rules: Sequence[Rule2]) -> None:
    """Raise InputRejected if more than 40 rules watch one of the devices that the rules' globs name.

    Of a glob one device that it matches is tried, so more rules may watch another one.
    """
    devices = dict.fromkeys(_example(glob) for rule in rules for glob in rule.devices)
    for device in devices if len(rules) > MAX_RULES_OF_A_DEVICE else ():
        count = sum(watches(rule.devices, device) for rule in rules)
        if count > MAX_RULES_OF_A_DEVICE:
            what = f"{count} rules of version 2 watch the device {show(device)}; at most {MAX_RULES_OF_A_DEVICE} may"
            raise InputRejected(what, "rules")


def _example(glob: str) -> str:
    return "".join("x" if char in "*?" else char for char in glob)


def _clock(form: ClockForm, place: Place) -> ClockRule:
    if (form.offset is None) == (form.use is None):
        raise InputRejected('expected either "offset" or "use"', path(place))
    check_once(form.devices, (*place, "devices"))
    return ClockRule(devices=tuple(form.devices), offset_s=form.offset or 0, use_received=form.use is not None)


def _rule(form: RuleForm2, file: RulesForm2, place: Place) -> Rule2:
    custom = file.labels == "custom"
    check_once(form.devices, (*place, "devices"))
    check_once([f"{time_s // 3600:02}:{time_s % 3600 // 60:02}" for time_s in form.digest], (*place, "digest"))
    wanted = tuple(
        _wanted(item, form, (*place, "classes", number), custom=custom) for number, item in enumerate(form.classes)
    )
    meanings = [item.of_class.meaning(custom=custom) for item in wanted]
    check_once(meanings, (*place, "classes"))
    channels = _channels(form, place)
    zone = find_zone(form.timezone)
    return Rule2(
        name=form.name,
        user=form.user,
        devices=tuple(form.devices),
        wanted=wanted,
        count=form.count,
        zones=tuple(
            _zone(item, meanings, (*place, "zones", number), custom=custom) for number, item in enumerate(form.zones)
        ),
        clock=WallClock(zone=zone or ZoneInfo("UTC"), holidays=frozenset(file.holidays)),
        schedule=None if form.schedule is None else tuple(span.span() for span in form.schedule),
        quiet=_quiet(form, place),
        digest_s=tuple(form.digest),
        severity=form.severity,
        group=form.group,
        static_classes=_classes(
            form.static.classes if form.static else [], (*place, "static", "classes"), custom=custom
        ),
        channels=channels,
        escalate_to=_escalate_to(form, channels, place),
        policy=_policy(form, place),
    )


def _wanted(form: WantedForm, rule: RuleForm2, place: Place, *, custom: bool) -> Wanted:
    return Wanted(
        of_class=resolve(form.of_class, place, custom=custom),
        min_score=form.min_score if form.min_score is not None else rule.min_score,
        min_area=form.min_area if form.min_area is not None else rule.min_area,
        max_area=form.max_area if form.max_area is not None else rule.max_area,
    )


def _classes(values: Sequence[int | str], place: Place, *, custom: bool) -> tuple[ClassRef, ...]:
    found = tuple(resolve(value, (*place, number), custom=custom) for number, value in enumerate(values))
    check_once([item.meaning(custom=custom) for item in found], place)
    return found


def _zone(form: ZoneForm, meanings: Sequence[str | int], place: Place, *, custom: bool) -> Zone:
    crossing = find_crossing(form.polygon)
    if area(form.polygon) < EDGE:
        raise InputRejected("the polygon has no area", path((*place, "polygon")))
    if crossing is not None:
        what = f"the polygon crosses or touches itself: the edges after points {crossing[0]} and {crossing[1]}"
        raise InputRejected(what, path((*place, "polygon")), "give the corners in their order, each once")
    check_once(form.devices, (*place, "devices"))
    classes = None if form.classes is None else _classes(form.classes, (*place, "classes"), custom=custom)
    for number, item in enumerate(classes or ()):
        if item.meaning(custom=custom) not in meanings:
            what = f"the rule does not want the class {show(item.meaning(custom=custom))}"
            raise InputRejected(what, path((*place, "classes", number)))
    return Zone(
        name=form.name,
        polygon=tuple(form.polygon),
        mode=form.mode,
        devices=tuple(form.devices),
        classes=classes,
        decides=form.decides,
        min_overlap=form.min_overlap,
    )


def _quiet(form: RuleForm2, place: Place) -> tuple[Span, ...]:
    spans = tuple(span.span() for span in form.quiet)
    if spans and form.digest:
        raise InputRejected('"quiet" beside "digest": a digest is never at once anyway', path((*place, "quiet")))
    if spans and covers_week(spans):
        raise InputRejected("the quiet times cover the whole week: nothing would ever be sent", path((*place, "quiet")))
    return spans


def _channels(form: RuleForm2, place: Place) -> tuple[MailChannel | OtherChannel, ...]:
    if form.channels is None:
        return (_mail(form, place),)
    if form.sender is not None or form.to is not None:
        given = "from" if form.sender is not None else "to"
        raise InputRejected(f'"{given}" beside "channels": name one of them', path((*place, given)))
    channels = tuple(_channel(item, (*place, "channels", number)) for number, item in enumerate(form.channels))
    recipients = [address.casefold() for channel in channels for address in channel.recipients]
    if len(set(recipients)) < len(recipients):
        raise InputRejected("two channels have a recipient in common", path((*place, "channels")))
    return channels


def _channel(form: ChannelForm, place: Place) -> MailChannel | OtherChannel:
    if form.type == "mail":
        if form.name is not None:
            raise InputRejected("a mail channel has no name", path((*place, "name")))
        return _mail(form, place)
    for field, value in (("from", form.sender), ("to", form.to)):
        if value is not None:
            raise InputRejected(f"a channel of type {form.type} has a name and no address", path((*place, field)))
    if form.name is None:
        raise InputRejected("this field is missing", path((*place, "name")))
    if not is_channel_name(form.name):
        what = f"{show(form.name)} cannot be a channel's name"
        raise InputRejected(what, path((*place, "name")), f"expected {NAME_RULE}")
    return OtherChannel(channel=f"{form.type}:{form.name}")


def _mail(form: RuleForm2 | ChannelForm, place: Place) -> MailChannel:
    if form.sender is None or form.to is None:
        raise InputRejected("this field is missing", path((*place, "from" if form.sender is None else "to")))
    check_once([address.casefold() for address in form.to], (*place, "to"))
    return MailChannel(sender=form.sender, recipients=tuple(form.to))


def _escalate_to(form: RuleForm2, channels: Sequence[MailChannel | OtherChannel], place: Place) -> tuple[str, ...]:
    if form.escalate is None:
        return ()
    if not any(isinstance(channel, MailChannel) for channel in channels):
        what = "an escalation is a mail, and the rule has no channel of mail with a sender"
        raise InputRejected(what, path((*place, "escalate")))
    place = (*place, "escalate", "to")
    check_once([address.casefold() for address in form.escalate.to], place)
    told = {address.casefold() for channel in channels for address in channel.recipients}
    for number, address in enumerate(form.escalate.to):
        if address.casefold() in told:
            raise InputRejected(f"{show(address)} is a recipient of the rule, told already", path((*place, number)))
    return tuple(form.escalate.to)


def _policy(form: RuleForm2, place: Place) -> Policy:
    static = _static(form.static, place) if form.static is not None else None
    gap, again, cooldown = form.event.gap, form.event.again, form.cooldown
    if again is not None and again < max(gap, cooldown):
        other = "gap" if again < gap else "cooldown"
        what = f"again ({again} s) is less than {other} ({max(gap, cooldown)} s)"
        raise InputRejected(
            what, path((*place, "event", "again")), "an event would be told again sooner than another event"
        )
    return Policy(
        gap_s=gap,
        again_s=again,
        cooldown_s=cooldown,
        reorder_s=_reorder(form),
        late_after_s=form.late.after,
        late_action=form.late.action,
        count=form.count,
        static=static,
        escalate_after_s=form.escalate.after if form.escalate is not None else None,
    )


def _static(form: StaticForm, place: Place) -> Static:
    if form.hold == 0:
        raise InputRejected("expected more than 0 s: else all stands still at once", path((*place, "static", "hold")))
    if form.forget < 2 * form.hold:
        what = f"forget ({form.forget} s) is less than twice hold ({form.hold} s)"
        hint = "what was seen could be forgotten before it counts"
        raise InputRejected(what, path((*place, "static", "forget")), hint)
    return Static(iou=form.iou, hold_s=form.hold, forget_s=form.forget)


def _reorder(form: RuleForm2) -> float:
    """Return the bound: as written, or the least of 90 s, gap, half the cooldown and hold, of those that are not 0."""
    if form.reorder is not None:
        return float(form.reorder)
    hold = form.static.hold if form.static is not None else 0
    return min(bound for bound in (MAX_REORDER_S, float(form.event.gap), form.cooldown / 2, float(hold)) if bound)


def _find_too_large(form: RuleForm2, place: Place) -> InputRejected | None:
    reorder, hold = form.reorder or 0, form.static.hold if form.static is not None else 0
    for name, limit in (("gap", form.event.gap), ("cooldown", form.cooldown), ("static.hold", hold)):
        if limit and (reorder >= limit if name == "cooldown" else reorder > limit):
            less = "less than" if name == "cooldown" else "at most"
            what = f"expected {less} {name} ({limit} s), got {reorder} s"
            return InputRejected(what, path((*place, "reorder")), "the order of pictures would matter")
    return None
