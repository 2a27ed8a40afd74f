"""Pictures per second through all four stages, beside a bare loop that only detects."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import ROOT, Finished, Row, Setup, check_counts, load, run_lookout, run_process
from bench.pictures import write_varied


def measure(setup: Setup) -> list[Row]:
    """Measure both as whole processes with one worker a core, in turn, each time into a new folder.

    Each threat is drawn and encoded a second time, so the share of threats matters: one picture in seven, and, with
    the example rules on the sample photographs, five in seven.
    """
    total, pairs = setup.pick(1000, 100), setup.pick(3, 1)
    source = setup.folder / "source"
    setup.say(f"making {total:,} pictures")
    write_varied(source, total)
    few = _compare(setup, source, total, pairs, ROOT / "bench" / "cups.json")
    many = _compare(setup, source, total, setup.pick(2, 1), ROOT / "examples" / "rules")
    return [
        Row(what=f"throughput: lookout run, {total:,} pictures", values=few.rates(few.mine), unit="pictures/s"),
        Row(what="throughput: bare loop", values=few.rates(few.bare), unit="pictures/s"),
        Row(
            what=f"throughput: ratio, threats {few.threats:.0%}", values=few.ratios(), unit="", bar=0.85, at_least=True
        ),
        Row(what=f"throughput: ratio, threats {many.threats:.0%}", values=many.ratios(), unit=""),
        Row(what="CPU time a picture: lookout run", values=few.cpu_ms(few.mine), unit="ms"),
        Row(what="CPU time a picture: bare loop", values=few.cpu_ms(few.bare), unit="ms"),
    ]


@dataclass(kw_only=True)
class Pairs:
    """Runs of both over the same pictures, pair by pair."""

    total: int
    threats: float = 0.0
    mine: list[Finished] = field(default_factory=list)
    bare: list[Finished] = field(default_factory=list)

    def rates(self, runs: list[Finished]) -> list[float]:
        return [self.total / run.wall_s for run in runs]

    def ratios(self) -> list[float]:
        return [bare.wall_s / mine.wall_s for mine, bare in zip(self.mine, self.bare, strict=True)]

    def cpu_ms(self, runs: list[Finished]) -> list[float]:
        return [1000 * run.cpu_s / self.total for run in runs]


def _compare(setup: Setup, source: Path, total: int, pairs: int, rules: Path) -> Pairs:
    workers = str(os.cpu_count())
    done = Pairs(total=total)
    for pair in range(pairs):
        state, out = setup.folder / f"state-{pair}", setup.folder / f"bare-{pair}"
        setup.say(f"pair {pair + 1} of {pairs} with {rules.name}, load average {load()}")
        finished, said = run_lookout("run", source, "--state", state, "--rules", rules, "--workers", workers)
        check_counts(said, {name: {"success": total} for name in ("validate", "object-detect", "threat-detect")})
        done.mine.append(finished)
        bare = run_process([sys.executable, "-m", "bench.bare", source, out, "--workers", workers])
        if int(bare.stdout) != total:
            raise RuntimeError(f"the bare loop did {bare.stdout.strip()} of {total} pictures")
        done.bare.append(bare)
        done.threats = sum(said["threats"].values()) / total
        setup.say(f"lookout {finished.wall_s:.1f} s ({done.threats:.0%} threats), bare loop {bare.wall_s:.1f} s")
        shutil.rmtree(state)
        shutil.rmtree(out)
    return done
