"""Time of ``lookout --help``: the cost of every call before it begins."""

from __future__ import annotations

from bench.measure import LOOKOUT, Row, Setup, run_process


def measure(setup: Setup) -> list[Row]:
    """Measure whole processes, after one that fills the caches."""
    command = [LOOKOUT, "--help"]
    run_process(command)
    times_s = [run_process(command).wall_s for _ in range(setup.pick(20, 5))]
    return [Row(what="lookout --help", values=times_s, unit="s", bar=0.3)]
