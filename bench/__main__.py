"""Runs the benchmarks and prints one table: ``python -m bench [NAME...] [--services | --cluster] [--quick]``.

Exits 0 whatever the figures are; a missed bar says ``over``. A benchmark that cannot be run, or that did not do the
work it was to measure, is named with its error, and then the exit code is 1.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench import (
    cluster_backfill,
    cluster_events,
    cluster_mail,
    detect,
    engine,
    finished,
    replay,
    services_cost,
    services_ledger,
    services_runs,
    throughput,
    watch,
)
from bench import help as help_
from bench.measure import Row, Setup, machine, table
from lookout.domain.errors import LookoutError

BENCHES: Final[Mapping[str, Callable[[Setup], list[Row]]]] = {
    "help": help_.measure,
    "engine": engine.measure,
    "rerun": finished.measure_rerun,
    "add-one": finished.measure_add_one,
    "watch": watch.measure,
    "throughput": throughput.measure,
    "detect": detect.measure,
    "replay": replay.measure,
}
ON_SERVERS: Final[Mapping[str, Callable[[Setup], list[Row]]]] = {
    "services-cost": services_cost.measure,
    "services-ledger": services_ledger.measure,
    "services-runs": services_runs.measure,
}
"""Those that start a MinIO and an etcd of their own."""
IN_CLUSTER: Final[Mapping[str, Callable[[Setup], list[Row]]]] = {
    "cluster-mail": cluster_mail.measure,
    "cluster-backfill": cluster_backfill.measure,
    "cluster-sizes": cluster_backfill.measure_sizes,
    "cluster-events": cluster_events.measure,
}
"""Those that need a cluster with Lookout in it."""
ALL: Final = {**BENCHES, **ON_SERVERS, **IN_CLUSTER}


def main() -> None:
    if sys.argv[1:2] == ["detect"]:  # with options of its own, for any model and pictures
        detect.main(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Lookout's speed.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which: {', '.join(ALL)}; without one, all in a folder"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--services", action="store_true", help="without a name: all on servers instead")
    where.add_argument("--cluster", action="store_true", help="without a name: all in the cluster instead")
    parser.add_argument("--quick", action="store_true", help="less work and fewer repeats: a first impression")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in ALL]
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(ALL)}")
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {machine()}")
    print(f"Lookout {version('lookout')}, Python {platform.python_version()}{'; quick' if given.quick else ''}\n")
    rows: list[Row] = []
    failures: dict[str, str] = {}
    for name in given.names or (ON_SERVERS if given.services else IN_CLUSTER if given.cluster else BENCHES):
        started_s = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix=f"lookout-bench-{name}-") as folder:
            try:
                rows += ALL[name](Setup(folder=Path(folder), quick=given.quick, say=_sayer(name)))
            except (LookoutError, RuntimeError, OSError, subprocess.SubprocessError) as exc:
                failures[name] = str(exc)
        _sayer(name)(f"took {time.perf_counter() - started_s:.0f} s")
    print(table(rows))
    print(f"\nat the end: {machine()}")
    for name, error in failures.items():
        print(f"{name} could not be measured: {error}")
    sys.exit(1 if failures else 0)


def _sayer(name: str) -> Callable[[str], None]:
    return lambda text: print(f"{name}: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
