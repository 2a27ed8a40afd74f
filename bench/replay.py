"""Cost of a replay over many pictures, as a whole process: by other rules, and as a check of what was decided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from bench.alert_history import BASE_S, CAR, PERSON, AlertHistory, Shot
from bench.measure import LOOKOUT, Row, Setup, load, run_process

DEVICES: Final = 20
STEP_S: Final = 7
_RULE: Final[dict[str, Any]] = {
    "name": "people",
    "user": "bench@example.com",
    "classes": ["person"],
    "from": "lookout@example.com",
    "to": ["bench@example.com"],
}


def measure(setup: Setup) -> list[Row]:
    """``lookout replay --rules`` and ``lookout replay --check`` over pictures of which one in three matches."""
    rules = setup.folder / "rules.json"
    rules.write_text(json.dumps(document(cooldown="30m")), encoding="utf-8")
    rows = []
    for total, bar_s in ((2_500, None), (setup.pick(10_000, 5_000), 5.0)):
        state = setup.folder / f"history-{total}"
        setup.say(f"making a history of {total:,} pictures")
        fill(state, total)
        for name, arguments in (("by other rules", ["--rules", rules]), ("--check", ["--check"])):
            setup.say(f"replaying {name}, load average {load()}")
            command = [LOOKOUT, "replay", *arguments, "--state", state]
            runs = [run_process(command) for _ in range(setup.pick(5, 2))]
            what = f"replay of {total:,} pictures {name}"
            rows.append(Row(what=what, values=[run.wall_s for run in runs], unit="s", bar=bar_s))
            memory_mb = [run.peak_bytes / 1e6 for run in runs]
            rows.append(Row(what=f"{what}: peak memory", values=memory_mb, unit="MB", bar=None))
    return rows


def document(**fields: Any) -> dict[str, Any]:
    """Return a rule file of version 2 with one rule."""
    return {"version": 2, "rules": [{**_RULE, **fields}]}


def fill(state: Path, total: int) -> None:
    """Make a history of so many pictures of several devices, each taken a few seconds after the one before."""
    history = AlertHistory(state)
    history.enforce(document())
    history.take(
        Shot(
            device=f"cam{number % DEVICES:02}",
            at_s=BASE_S + number * STEP_S,
            objects=(PERSON,) if number % 3 == 0 else (CAR,),
        )
        for number in range(total)
    )
