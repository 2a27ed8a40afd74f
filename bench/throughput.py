"""Pictures per second through all four stages, beside a bare loop that only detects."""

from __future__ import annotations

import os
import shutil
import sys

from bench.measure import ROOT, Finished, Row, Setup, check_counts, load, run_lookout, run_process
from bench.pictures import write_varied


def measure(setup: Setup) -> list[Row]:
    """Both as whole processes with one worker a core, in turn, each time into a new folder."""
    total, pairs = setup.pick(1000, 100), setup.pick(3, 1)
    workers = str(os.cpu_count())
    source = setup.folder / "source"
    setup.say(f"making {total:,} pictures")
    write_varied(source, total)
    lookouts: list[Finished] = []
    bares: list[Finished] = []
    for pair in range(pairs):
        state, out = setup.folder / f"state-{pair}", setup.folder / f"bare-{pair}"
        setup.say(f"pair {pair + 1} of {pairs}, load average {load()}")
        rules = ROOT / "examples" / "rules"
        finished, said = run_lookout("run", source, "--state", state, "--rules", rules, "--workers", workers)
        check_counts(said, {name: {"success": total} for name in ("validate", "object-detect", "threat-detect")})
        lookouts.append(finished)
        bare = run_process([sys.executable, "-m", "bench.bare", source, out, "--workers", workers])
        if int(bare.stdout) != total:
            raise RuntimeError(f"the bare loop did {bare.stdout.strip()} of {total} pictures")
        bares.append(bare)
        threats = sum(said["threats"].values())
        setup.say(f"lookout {finished.wall_s:.1f} s ({threats} threats), bare loop {bare.wall_s:.1f} s")
        shutil.rmtree(state)
        shutil.rmtree(out)
    return [
        Row(what=f"throughput: lookout run, {total:,} pictures", values=_rates(lookouts, total), unit="pictures/s"),
        Row(what="throughput: bare loop", values=_rates(bares, total), unit="pictures/s"),
        Row(
            what="throughput: lookout run to bare loop",
            values=[bare.wall_s / mine.wall_s for mine, bare in zip(lookouts, bares, strict=True)],
            unit="",
            bar=0.85,
            at_least=True,
        ),
        Row(what="CPU time a picture: lookout run", values=_cpu_ms(lookouts, total), unit="ms"),
        Row(what="CPU time a picture: bare loop", values=_cpu_ms(bares, total), unit="ms"),
    ]


def _rates(runs: list[Finished], total: int) -> list[float]:
    return [total / run.wall_s for run in runs]


def _cpu_ms(runs: list[Finished], total: int) -> list[float]:
    return [1000 * run.cpu_s / total for run in runs]
