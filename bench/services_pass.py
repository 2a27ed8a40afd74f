"""One process that works on a ledger which is there already, and says how long that took: measured by another.

``python -m bench.services_pass batch STATE NUMBER`` takes 200 new pictures through all stages with made-up workers;
``... skip STATE NUMBER`` has that many finished datums of each ordinary stage looked at again. LOOKOUT_LEDGER names the
ledger. A process of its own, so that its memory and its start are those of a worker and not of the benchmarks.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Final

from bench.states import DAY_S, LAST_DAY_S, READERS, engine_of, observation, settle_alerts
from lookout.app.deployment import Program
from lookout.app.process import spare_the_collector
from lookout.config.settings import Settings
from lookout.domain.records import Mark
from lookout.ledger.port import Ledger
from lookout.sources.folder_keys import origin_of
from stages.installation import INSTALLATION
from stages.pipeline import PIPELINE

BATCH: Final = 200
DEVICES: Final = 50
SET_APART_S: Final = 1000
"""From the pictures that are known on that day."""
ORDINARY: Final = tuple(stage for stage in PIPELINE.stages if not stage.grouped)
GROUPED: Final = tuple(stage for stage in PIPELINE.stages if stage.grouped)


def main() -> None:
    spare_the_collector()
    kind, state, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    with Program(settings=Settings.from_environment(os.environ), installation=INSTALLATION).open(state) as opened:
        if kind == "batch":
            print(json.dumps(take_batch(opened.ledger, state, number)))
        else:
            print(json.dumps(skip(opened.ledger, number)))


def take_batch(ledger: Ledger, state: Path, number: int) -> Mapping[str, float]:
    """Return seconds of each step for the ``number``-th batch of new pictures, four of each device on the newest day;
    and ``cpu``, those in which this process ran."""
    now_s, origin = time.time(), origin_of(state)
    first_s = LAST_DAY_S + DAY_S // 2 + SET_APART_S + number * 10
    new = [
        observation(origin, device, first_s + shot, now_s)
        for device in range(DEVICES)
        for shot in range(BATCH // DEVICES)
    ]
    with ledger.session() as owner:
        engine = engine_of(ledger, owner)
        start, ran = time.perf_counter(), time.process_time()
        ledger.observe(new, READERS)
        seen = time.perf_counter()
        engine.work(ORDINARY)
        done = time.perf_counter()
        report = engine.work(GROUPED)
        drawn, ran = time.perf_counter(), time.process_time() - ran
        settle_alerts(ledger, owner)
    first = ORDINARY[0].name
    if report.success[first] != BATCH or report.skipped[first]:
        raise RuntimeError(f"expected {BATCH} successes, got {report}")
    return {"observe": seen - start, "ordinary": done - seen, "grouped": drawn - done, "cpu": ran}


def skip(ledger: Ledger, number: int) -> Mapping[str, tuple[int, float, float]]:
    """By stage, how many finished datums were claimed, planned and settled as they are, the seconds it took, and those
    in which this process ran."""
    found: dict[str, tuple[int, float, float]] = {}
    with ledger.session() as owner:
        for stage in ORDINARY:
            marks = [Mark(stage=stage.name, key=slot.key) for slot in islice(ledger.slots(stage.name), number)]
            ledger.mark(marks)
            engine = engine_of(ledger, owner)
            start, ran = time.perf_counter(), time.process_time()
            report = engine.work([stage])
            took, ran = time.perf_counter() - start, time.process_time() - ran
            if report.skipped[stage.name] != len(marks) or report.success:
                raise RuntimeError(f"expected {len(marks)} skips of {stage.name}, got {report}")
            found[stage.name] = len(marks), took, ran
    return found


if __name__ == "__main__":
    main()
