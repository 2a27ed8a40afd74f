"""States made up by the benchmarks: they look like those that the stages make, or something else would be measured."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from bench.measure import ROOT
from bench.states import make_state, make_up, observations
from lookout.app.deployment import Program
from lookout.config.settings import Settings
from lookout.execution.executor import InlineWorkers
from lookout.execution.jobs import Job, StageRun
from lookout.ledger.port import Ledger
from lookout.runs.runner import Order, Runner
from stages.installation import INSTALLATION
from stages.pipeline import PIPELINE

RULES = ROOT / "bench" / "people.json"
PERSON, NOBODY, CUT = "porch_1763798400.jpg", "field_1763798580.jpg", "yard_1763798700.jpg"
ORDINARY, THREAT, INVALID = "1" * 64, "1" * 56 + "0" * 8, "0" * 8 + "1" * 56
"""Contents that make a made-up picture what it is."""


class Recording(InlineWorkers):
    """Keeps each job with what was made of it."""

    def __init__(self, store) -> None:
        super().__init__(store)
        self.made: dict[tuple[str, str], tuple[Job, StageRun]] = {}

    def submit(self, jobs, timeout_s, done) -> None:
        def keep(job: Job, run: StageRun) -> None:
            assert run.error is None, run.error
            self.made[job.stage, job.key] = (job, run)
            done(job, run)

        super().submit(jobs, timeout_s, keep)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return the results of the real stages for three of the sample photographs."""
    root = tmp_path_factory.mktemp("real")
    source = root / "source"
    source.mkdir()
    for name in (PERSON, NOBODY, CUT):
        shutil.copy(ROOT / "examples" / "photos" / name, source)
    settings = Settings(durable=False)
    with Program(settings=settings, installation=INSTALLATION).open(root / "state", create=True) as opened:
        workers = Recording(opened.store)
        runner = Runner(
            pipeline=PIPELINE,
            ledger=opened.ledger,
            open_ledger=opened.open_ledger,
            store=opened.store,
            workers=workers,
            outboxes=opened.outboxes,
            code="test",
        )
        runner.run(Order(sources=(source,), references={"model": ROOT / "models", "rules": RULES}))
    return workers.made


@pytest.mark.parametrize(
    ("stage", "key", "content"),
    [
        ("validate", NOBODY, ORDINARY),
        ("validate", CUT, INVALID),
        ("object-detect", PERSON, THREAT),
        ("threat-detect", NOBODY, ORDINARY),
        ("threat-detect", PERSON, THREAT),
        ("plot", "porch/2025-11-22", ""),
        ("plot", "", ""),
    ],
)
def test_what_is_made_up_looks_like_what_is_made(made, stage, key, content):
    job, real = made[stage, key]
    inputs = tuple(replace(item, ref=replace(item.ref, sha256=content)) for item in job.inputs)
    fake = make_up(replace(job, inputs=inputs))
    assert [(ref.bucket, ref.key) for ref in fake.outputs] == [(ref.bucket, ref.key) for ref in real.outputs]
    assert (fake.label, fake.at_s, fake.counts) == (real.label, real.at_s, real.counts)
    assert shape(fake.facts) == shape(real.facts)
    assert [shape(draft.detail) for draft in fake.alerts] == [shape(draft.detail) for draft in real.alerts]
    assert [draft.evidence for draft in fake.alerts] == [draft.evidence for draft in real.alerts]


def test_a_made_up_state_has_every_picture_finished_and_every_alert_sent(tmp_path):
    known = observations(tmp_path, devices=3, days=2, a_day=20)
    done = make_state(tmp_path / "state", tmp_path, RULES, known)
    assert done["validate"] == 120
    assert 0 < done["validate"] - done["object-detect"] < 20  # invalid ones go no further
    with Program(settings=Settings(), installation=INSTALLATION).open(tmp_path / "state") as opened:
        ledger: Ledger = opened.ledger
        assert all(ledger.count_dirty(stage.name) == 0 for stage in PIPELINE.stages)
        assert {state.value for state in ledger.count_alerts()} == {"sent"}


def shape(value):
    """Names and kinds of a JSON value, without its texts and numbers."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [shape(item) for item in value]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
