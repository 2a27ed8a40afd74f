"""Cost of the ledger in etcd: the size of a picture in it, a finished datum, and a picture among many.

The pictures are made up (``bench/states.py``): engine and ledger are real, the stages and the objects are not.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.finished import A_DAY, DEVICES, RULES
from bench.measure import Finished, Row, Setup, load, run_process
from bench.services import Site, database_bytes, etcd, ledger_only, smallest_bytes
from bench.services_pass import BATCH
from bench.states import READERS, enforce, finish, observations
from devkit.servers.for_tests import EtcdServer

FEW: Final = 1000
BAR_SIZE_B: Final = 6 * 1024
BAR_SKIPS: Final = 5000.0
"""Datums a second that were done before and are found to be: marked, here; in ``services_runs``, with nothing to do."""
BAR_RATIO: Final = 1.3
BAR_MEMORY: Final = 1.1
STEPS: Final = ("observe", "ordinary", "grouped")
"""Of a batch, as ``services_pass`` names them."""


def measure(setup: Setup) -> list[Row]:
    """Measure an etcd with 1,000 pictures and one with 100,000 (``--quick``: 10,000), and then work on both in turn."""
    many = setup.pick(100_000, 10_000)
    with ExitStack() as stack:
        small, large = (stack.enter_context(etcd(setup.folder, name)) for name in ("few", "many"))
        sites = {FEW: ledger_only(small, setup.folder), many: ledger_only(large, setup.folder)}
        _fill(setup, sites[FEW], 0, FEW)
        rows = _measure_size(setup, large, sites[many], many)
        rows += _measure_skips(setup, sites[FEW], FEW)
        rows += _measure_skips(setup, sites[many], setup.pick(20_000, 5000))
        return [*rows, *_measure_growth(setup, sites, many)]


def _fill(setup: Setup, site: Site, known: int, total: int) -> None:
    """Finish pictures until there are ``total``: as many days as that takes, ``known`` being there already."""
    setup.say(f"filling an etcd up to {total:,} finished pictures, load average {load()}")
    a_day = DEVICES * A_DAY
    with site.open() as opened:
        enforce(opened, RULES)
        new = observations(site.state, DEVICES, total // a_day, A_DAY, known // a_day)
        opened.ledger.observe(new, READERS)
        done = finish(opened.ledger)
    if done["validate"] != total - known:
        raise RuntimeError(f"expected {total - known} new pictures, got {dict(done)}")


def _measure_size(setup: Setup, server: EtcdServer, site: Site, many: int) -> list[Row]:
    """Two states of known numbers, and what lies between them."""
    _fill(setup, site, 0, FEW)
    before = smallest_bytes(server)
    _fill(setup, site, FEW, many)
    untidy = database_bytes(server)
    after = smallest_bytes(server)
    setup.say(f"the database: {before:,} bytes with {FEW:,} pictures, {after:,} with {many:,}")
    new = many - FEW
    return [
        Row(what="etcd: bytes a picture, four stages", values=[(after - before) / new], unit="B", bar=BAR_SIZE_B),
        Row(what="etcd: the same before compaction and defragmentation", values=[(untidy - before) / new], unit="B"),
    ]


def _measure_skips(setup: Setup, site: Site, number: int) -> list[Row]:
    """Finished datums that are marked and found finished: claim, plan and commit, without the marking."""
    rounds = setup.pick(5, 3)
    said = []
    for _ in range(rounds):
        said.append(_pass(site, "skip", number).json())
        setup.say(f"{_rate(said[-1], 1):,.0f} skips/s, load average {load()}")
    what, unit = f"skip: finished datums, {number:,} of each stage", "datums/s"
    rates, by_cpu = [_rate(each, 1) for each in said], [_rate(each, 2) for each in said]
    rows = [
        Row(what=what, values=rates, unit=unit, bar=BAR_SKIPS, at_least=True),
        Row(what=f"skip: by this process's CPU time, {number:,}", values=by_cpu, unit=unit),
    ]
    for stage in said[0]:
        values = [each[stage][0] / each[stage][1] for each in said]
        rows.append(Row(what=f"skip: of it {stage}, {number:,}", values=values, unit=unit))
    return rows


def _rate(said: Mapping[str, Any], column: int) -> float:
    """Datums of all stages by their seconds in this column."""
    return float(sum(each[0] for each in said.values()) / sum(each[column] for each in said.values()))


def _measure_growth(setup: Setup, sites: dict[int, Site], many: int) -> list[Row]:
    """200 new pictures in a process of its own, few and many being known, in turn."""
    rounds = setup.pick(9, 3)
    ms: dict[int, list[dict[str, float]]] = {total: [] for total in sites}
    peaks: dict[int, list[float]] = {total: [] for total in sites}
    for number in range(rounds + 1):
        for total, site in sites.items():
            finished = _pass(site, "batch", number)
            if number:  # the first reads the caches of the disk
                ms[total].append({step: 1000 * seconds / BATCH for step, seconds in finished.json().items()})
                peaks[total].append(finished.peak_bytes / 1e6)
        setup.say(f"batch {number} of {rounds}, load average {load()}")
    cost_ms = {total: [sum(said[step] for step in STEPS) for said in each] for total, each in ms.items()}
    ratio = median(cost_ms[many]) / median(cost_ms[FEW])
    memory = median(peaks[many]) / median(peaks[FEW])
    rows = [
        Row(what=f"growth: {many:,} to {FEW:,}, ratio of medians", values=[ratio], unit="", bar=BAR_RATIO),
        Row(what=f"growth: peak memory, {many:,} to {FEW:,}", values=[memory], unit="", bar=BAR_MEMORY),
    ]
    for total, each in ms.items():
        rows.append(Row(what=f"growth: a picture, four stages, {total:,} known", values=cost_ms[total], unit="ms"))
        for step in (*STEPS, "cpu"):
            values = [said[step] for said in each]
            rows.append(Row(what=f"growth: of it {step}, {total:,} known", values=values, unit="ms"))
        rows.append(Row(what=f"growth: peak memory, {total:,} known", values=peaks[total], unit="MB"))
    return rows


def _pass(site: Site, kind: str, number: int) -> Finished:
    command: list[str | Path] = [sys.executable, "-m", "bench.services_pass", kind, site.state, str(number)]
    return run_process(command, site.environment)
