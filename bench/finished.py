"""Cost of a run when nearly all was done before: a rerun with nothing to do, and one new picture among many."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.measure import ROOT, Finished, Row, Setup, check_counts, load, run_lookout
from bench.pictures import PERSON, PHOTOS, tiny, varied
from bench.states import LAST_DAY_S, make_state, observations
from lookout.app.deployment import Deployment, Program
from lookout.config.settings import Settings
from lookout.domain.records import Json
from lookout.execution.executor import InlineWorkers
from lookout.runs.runner import Order, Runner
from lookout.version import code_version
from stages.installation import INSTALLATION
from stages.pipeline import PIPELINE

RULES: Final = ROOT / "bench" / "people.json"
DEVICES: Final = 50
A_DAY: Final = 20
"""Pictures of one device on one day."""


def measure_rerun(setup: Setup) -> list[Row]:
    """``lookout run SOURCE`` over finished pictures, as a whole process, after one that fills the caches."""
    rows = []
    sizes = ((1000, 0.4, None), (setup.pick(10_000, 2000), 1.2, 300.0))
    for total, bar_s, bar_mb in sizes:
        source, state = setup.folder / f"source-{total}", setup.folder / f"state-{total}"
        setup.say(f"making a state of {total:,} finished pictures")
        source.mkdir()
        for number in range(total):
            at_s = LAST_DAY_S + number // DEVICES * 60
            (source / f"cam{number % DEVICES:02}_{at_s}.jpg").write_bytes(tiny(number))
        done = make_state(state, source, RULES)
        _rerun(source, state, done)
        setup.say(f"rerunning, load average {load()}")
        runs = [_rerun(source, state, done) for _ in range(setup.pick(9, 3))]
        rows.append(
            Row(what=f"rerun over {total:,} finished", values=[run.wall_s for run in runs], unit="s", bar=bar_s)
        )
        memory_mb = [run.peak_bytes / 1e6 for run in runs]
        rows.append(Row(what=f"rerun over {total:,}: peak memory", values=memory_mb, unit="MB", bar=bar_mb))
    return rows


def _rerun(source: Path, state: Path, done: Counter[str]) -> Finished:
    finished, said = run_lookout("run", source, "--state", state, "--rules", RULES)
    expected: dict[str, dict[str, Json]] = {
        stage: {"success": 0, "skipped": number, "failed": 0} for stage, number in done.items()
    }
    check_counts(said, expected)
    return finished


# --- one new picture ------------------------------------------------------------------------------------------------


def measure_add_one(setup: Setup) -> list[Row]:
    """``lookout run FILE`` with a new picture of a person, few and many pictures being known, in turn."""
    few, many = 1000, setup.pick(100_000, 10_000)
    places = {total: _make_known(setup, total) for total in (few, many)}
    runs: dict[int, list[Finished]] = {few: [], many: []}
    said_s: dict[int, list[float]] = {few: [], many: []}
    rounds = setup.pick(9, 3)
    for number in range(rounds + 1):
        for total, (source, state) in places.items():
            finished, said = _add(source, state, number)
            if number:  # the first fills the caches and draws the charts that the made-up state has not
                runs[total].append(finished)
                said_s[total].append(said["elapsed_s"])
        setup.say(f"round {number} of {rounds}, load average {load()}")
    warm = {total: _add_warm(source, state, rounds + 1, rounds) for total, (source, state) in places.items()}
    wall_s = {total: [run.wall_s for run in done] for total, done in runs.items()}
    ratio = median(wall_s[many]) / median(wall_s[few])
    rows = [
        Row(what=f"add one: among {few:,} known", values=wall_s[few], unit="s"),
        Row(what=f"add one: among {many:,} known", values=wall_s[many], unit="s"),
        Row(what=f"add one: {many:,} to {few:,}, ratio of medians", values=[ratio], unit="", bar=1.3),
    ]
    for total in (few, many):
        rows += [
            Row(what=f"add one: of it the run, {total:,} known", values=said_s[total], unit="s"),
            Row(what=f"add one: model loaded, in process, {total:,} known", values=warm[total], unit="s"),
            Row(
                what=f"add one: peak memory, {total:,} known",
                values=[run.peak_bytes / 1e6 for run in runs[total]],
                unit="MB",
            ),
        ]
    return rows


def _make_known(setup: Setup, total: int) -> tuple[Path, Path]:
    source, state = setup.folder / f"source-{total}", setup.folder / f"state-{total}"
    source.mkdir()
    setup.say(f"making a state of {total:,} known pictures")
    days = total // (DEVICES * A_DAY)
    make_state(state, source, RULES, observations(source, DEVICES, days, A_DAY))
    return source, state


def _new_picture(source: Path, number: int) -> Path:
    """Return a new picture of a person, from one of the devices on the newest day."""
    path = source / f"cam{number % DEVICES:02}_{LAST_DAY_S + 80_000 + number}.jpg"
    path.write_bytes(varied((PHOTOS / PERSON).read_bytes(), number))
    return path


def _add(source: Path, state: Path, number: int) -> tuple[Finished, dict[str, Any]]:
    finished, said = run_lookout("run", _new_picture(source, number), "--state", state, "--threshold", "0.5")
    check_counts(said, {stage: {"success": 1} for stage in ("validate", "object-detect", "threat-detect")})
    return finished, dict(said)


def _add_warm(source: Path, state: Path, first: int, rounds: int) -> list[float]:
    """Return seconds that a run takes within a process that has the model open: no start-up in it."""
    with Program(settings=Settings(), installation=INSTALLATION).open(state) as opened:
        workers = InlineWorkers(opened.store)
        seconds = [_run_here(opened, workers, _new_picture(source, first + number)) for number in range(rounds + 1)]
    return seconds[1:]


def _run_here(opened: Deployment, workers: InlineWorkers, path: Path) -> float:
    runner = Runner(
        pipeline=PIPELINE.with_params({"object-detect": {"threshold": 0.5}}),
        ledger=opened.ledger,
        open_ledger=opened.open_ledger,
        store=opened.store,
        workers=workers,
        outboxes=opened.outboxes,
        code=code_version(),
    )
    ran = runner.run(Order(sources=(path,)))
    if ran.engine.report.success["threat-detect"] != 1:
        raise RuntimeError(f"expected one new picture done, got {ran.engine.report}")
    return ran.elapsed_s
