"""``python -m tests.storm --seed N --minutes M [--servers]``: one storm, or, without a seed, a series of them.

Prints the seed of each before it begins, and figures at the end. Ends with 1 and the faults if something does not hold.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Final

from tests.storm.embedded import EmbeddedSite
from tests.storm.figures import Figures
from tests.storm.servers import ServerSite
from tests.storm.site import Site

STORM_MINUTES: Final = 5.0
"""The length of one storm of a series: the state is small enough to compare, and old enough to have seen much."""


def storm(seed: int, seconds: float, *, servers: bool, steps: int | None = None, whole: bool = False) -> Site:
    """One storm and its account. The folder stays where something does not hold. Raises Fault then."""
    kind = ServerSite if servers else EmbeddedSite
    root = Path(tempfile.mkdtemp(prefix=f"lookout-storm-{seed}-"))
    sys.stdout.write(f"storm {seed}{' on servers' if servers else ''} in {root}\n")
    sys.stdout.flush()
    with kind(root, seed, whole=whole) as site:
        try:
            site.storm(seconds=seconds, steps=steps)
            site.settle()
        except AssertionError as exc:
            done = site.figures.counts["steps"]
            again = f"python -m tests.storm --seed {seed} --steps {done}{' --servers' if servers else ''}"
            exc.add_note(f"after {done} steps; what they left is in {root}; again: {again}")
            site.keep()
            raise
    shutil.rmtree(root)
    return site


def series(seed: int, seconds: float, *, servers: bool, whole: bool) -> tuple[Figures, int]:
    """Storms of one seed after the other until the time is over; their sums, and how many failed."""
    total, failed = Figures(), 0
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0:
        try:
            total.add(storm(seed, min(left_s, 60 * STORM_MINUTES), servers=servers, whole=whole).figures)
        except AssertionError:
            failed += 1
            traceback.print_exc(limit=0)
        total.counts["storms"] += 1
        seed += 1
    return total, failed


def main() -> None:
    """Read the arguments and storm."""
    parser = argparse.ArgumentParser(prog="python -m tests.storm", description="A storm on the real command.")
    parser.add_argument("--seed", type=int, help="this storm alone")
    parser.add_argument("--first-seed", type=int, default=1, help="the first seed of a series")
    parser.add_argument("--minutes", type=float, default=STORM_MINUTES)
    parser.add_argument("--steps", type=int, help="with --seed: so many steps instead of so many minutes")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--servers", action="store_true", help="on MinIO and etcd (make servers builds them)")
    where.add_argument("--both", action="store_true", help="a series of half the time each, first over state folders")
    parser.add_argument("--whole", action="store_true", help="fail where some of the weather is not possible")
    given = parser.parse_args()
    # So that disks are unmounted and servers end in any case; what a shell starts in the background ignores Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    seconds, servers, whole = 60 * given.minutes, given.servers, given.whole
    if given.seed is None:
        forms = (False, True) if given.both else (servers,)
        failed = [_tell_series(given.first_seed, seconds / len(forms), servers=one, whole=whole) for one in forms]
        sys.exit(any(failed))
    site = storm(given.seed, seconds, servers=servers, steps=given.steps, whole=whole)
    sys.stdout.write("".join(f"left out: {why}\n" for why in sorted(site.left_out)) + f"{site.figures}\n")


def _tell_series(seed: int, seconds: float, *, servers: bool, whole: bool) -> int:
    figures, failed = series(seed, seconds, servers=servers, whole=whole)
    where = "on servers" if servers else "over state folders"
    sys.stdout.write(f"{figures}\n{figures.counts['storms']} storms {where}, {failed} with faults\n")
    sys.stdout.flush()
    return failed


if __name__ == "__main__":
    main()
