"""Kept decisions, folded again, give what the ledger has: scenarios and drawn histories; altered ones do not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from devkit.contracts.ledger_kit import ManualClock
from lookout.domain.identity import sha256
from lookout.domain.policy import codec
from lookout.domain.policy.records import Match
from lookout.domain.policy.verdicts import PictureDecision, Verdict
from lookout.ledger.port import Ledger
from lookout.ledger.rules import decisions
from stages.threat_detect.replay.fold import SeenOnly
from stages.threat_detect.replay.groups import LedgerCheck, check_ledger
from stages.threat_detect.rules.version2.rule import Rule2
from stages.threat_detect.simulation.rulebook import Entry

from .histories import Pick, crowded, lines_of, settings_of
from .ledger_run import LedgerRun, _decisions
from .test_ledger import PICKS, _possible, in_memory, sqlite_in
from .test_scenarios import SCENARIOS


class CheckedRun(LedgerRun):
    """A run that knows, as the store of a state does, the rule files and detections that decisions rest on."""

    def __init__(self, document: object, open_ledger: Callable[[ManualClock], Ledger]) -> None:
        super().__init__(document, open_ledger)
        self.rules: dict[str, Rule2] = {}
        self.devices: dict[str, str] = {}
        self.seen: list[SeenOnly] = []

    def _verdict(self, entry: Entry, match: Match) -> Verdict:
        digest = sha256(repr(entry.rule).encode())
        self.rules[digest] = entry.rule
        self.devices[match.key] = match.device
        found = super()._verdict(entry, match)
        return Verdict(
            match=match,
            policy=found.policy,
            picture_sha256=found.picture_sha256,
            rule_sha256=digest,
            alerts=found.alerts,
            escalations=found.escalations,
        )

    def _commit(self, key: str, verdicts: list[Verdict], ledger: Ledger, owner: str, **options: Any) -> None:
        before = _decisions(ledger, key)
        for verdict in verdicts:
            match = verdict.match
            if match.code in ("too_few", "outside_schedule") and "|".join(match.rule) not in before:
                self.seen.append(SeenOnly(match=match, decided_s=self.clock.now_s))
        super()._commit(key, verdicts, ledger, owner, **options)

    def check(self) -> LedgerCheck:
        with closing(self._open(self.clock)) as ledger:
            return check_ledger(ledger, self.rule_of, self.devices_of, self.seen)

    def rule_of(self, made: PictureDecision) -> Rule2 | None:
        return self.rules.get(made.rule_sha256)

    def devices_of(self, keys: Sequence[str]) -> Mapping[str, str]:
        return {key: self.devices[key] for key in keys}

    def alter(self, change: Callable[[PictureDecision], PictureDecision | None]) -> bool:
        """Change the first decision for which ``change`` gives another one; tells whether there was one."""

        def amend(unit: decisions.PolicyUnit) -> bool:
            for name, text in texts:
                made = codec.decisions_from_json(text)
                for place, one in enumerate(made):
                    if (other := change(one)) is not None:
                        unit.put_policy_text(name, codec.decisions_to_json([*made[:place], other, *made[place + 1 :]]))
                        return True
            return False

        with closing(self._open(self.clock)) as ledger:
            texts = list(ledger.policy_texts(decisions.DECISIONS))
            return ledger.amend_policy(amend)


@pytest.fixture(autouse=True)
def _exact_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "_CLOCKS_S", 0.0)


def has_unknown(lines: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether pictures were taken back, of which the ledger keeps no time."""
    return any(line.get("op") in ("delete", "rules", "redetect") for line in lines)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[one["name"] for one in SCENARIOS])
def test_a_scenario_folded_again_gives_the_ledger(scenario: dict[str, Any], tmp_path: Path) -> None:
    for open_ledger in (sqlite_in(tmp_path), in_memory()):
        run = CheckedRun(scenario["rules"], open_ledger)
        run.run(scenario["events"])
        found = run.check()
        assert found.difference is None
        assert found.reasons == [] or has_unknown(scenario["events"])


def _with_names_of_their_own(lines: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Name each silence otherwise, as commands do."""
    number = 0
    for line in lines:
        number += line.get("op") == "silence"
        yield {**line, "id": f"s{number}"} if "silence" in str(line.get("op")) else line


def _check(pick: Pick) -> None:
    history = settings_of(pick, static=bool(pick(0, 1)))
    history = (crowded if pick(0, 1) else lines_of)(pick, history)
    lines = list(_with_names_of_their_own(_possible(history.lines)))
    run = CheckedRun(history.document, in_memory())
    run.run(lines)
    found = run.check()
    assert found.difference is None
    assert found.reasons == [] or has_unknown(lines), found.reasons


@settings(max_examples=60, deadline=None)
@given(PICKS)
def test_a_drawn_history_folded_again_gives_the_ledger(pick: Pick) -> None:
    _check(pick)


@pytest.mark.slow
@settings(max_examples=5_000, deadline=None)
@given(PICKS)
def test_many_drawn_histories_folded_again_give_the_ledger(pick: Pick) -> None:
    _check(pick)


def _code(made: PictureDecision) -> PictureDecision | None:
    kept = made.kept
    return replace(made, kept=replace(kept, code="cooldown")) if kept.code == "merged_event" else None


def _told_by(made: PictureDecision) -> PictureDecision | None:
    return replace(made, numbers={**made.numbers, "told_by": "other"}) if "told_by" in made.numbers else None


def _time(made: PictureDecision) -> PictureDecision | None:
    kept = made.kept
    return replace(made, kept=replace(kept, at_s=kept.at_s + 1)) if kept.code == "sent" else None


def _alerts(made: PictureDecision) -> PictureDecision | None:
    return replace(made, alerts=()) if made.alerts else None


@pytest.mark.parametrize(
    ("change", "where"),
    [(_code, "code"), (_told_by, "told_by"), (_time, "t"), (_alerts, "alerts")],
)
def test_a_decision_that_was_altered_is_found(
    change: Callable[[PictureDecision], PictureDecision | None], where: str
) -> None:
    (scenario,) = (one for one in SCENARIOS if one["name"] == "burst-is-one-event")
    run = CheckedRun(scenario["rules"], in_memory())
    run.run(scenario["events"])
    whole = run.check()
    assert (whole.difference, whole.unknown, whole.groups) == (None, 0, 1)
    assert run.alter(change)
    found = run.check()
    assert found.difference is not None
    assert found.difference["where"] == where
    assert found.difference["kept"] != found.difference["made"]
    assert found.same + found.unknown < whole.same


def test_a_decision_that_is_missing_and_one_whose_rule_is_gone_are_unknown() -> None:
    (scenario,) = (one for one in SCENARIOS if one["name"] == "one-of-a-burst-deleted")
    run = CheckedRun(scenario["rules"], in_memory())
    run.run(scenario["events"])
    run.rules.clear()
    found = run.check()
    assert (found.same, found.difference) == (0, None)
    assert "is not kept any more" in str(found.reasons[0]["reason"])


def test_the_state_of_a_group_that_was_altered_is_found(tmp_path: Path) -> None:
    (scenario,) = (one for one in SCENARIOS if one["name"] == "burst-is-one-event")
    run = CheckedRun(scenario["rules"], sqlite_in(tmp_path))
    run.run(scenario["events"])

    def amend(unit: decisions.PolicyUnit) -> None:
        text = unit.policy_text(name)
        assert text is not None
        kept = codec.kept_group_from_json(text)
        group = replace(kept.group, told=())
        unit.put_policy_text(name, codec.kept_group_to_json(replace(kept, group=group)))

    with closing(run._open(run.clock)) as ledger:
        ((name, _),) = ledger.policy_texts(decisions.GROUP)
        ledger.amend_policy(amend)
    found = run.check()
    assert found.difference is not None
    assert found.difference["where"] == "told of the group"
