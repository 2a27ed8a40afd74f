"""Parts that all benchmarks share: the timing of a whole process, the rows of the table, the description of the
machine.

Knows no single benchmark.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeVar

from lookout.domain.records import Json

ROOT: Final = Path(__file__).parents[1]
FIGURES: Final = ROOT / "docs" / "figures"
"""What measurements are kept of which the documentation shows charts."""
LOOKOUT: Final = str(Path(sys.executable).with_name("lookout"))
Amount = TypeVar("Amount", int, float)
_STOPWATCH: Final = str(Path(__file__).with_name("stopwatch.py"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """Setup of a benchmark: an empty folder of its own, whether a rough result is enough, and a function that reports
    progress."""

    folder: Path
    quick: bool
    say: Callable[[str], None]

    def pick(self, full: Amount, quick: Amount) -> Amount:
        """Return a number of things, repeats or seconds."""
        return quick if self.quick else full


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the table. ``bar`` is the most (or, with ``at_least``, the least) that the median of ``values`` may
    be; a row without a bar explains another one."""

    what: str
    values: Sequence[float]
    unit: str
    bar: float | None = None
    at_least: bool = False

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"{self.what}: expected at least one measured value, got none")

    @property
    def middle(self) -> float:
        return median(self.values)

    @property
    def verdict(self) -> str:
        """``ok``, ``over``, or nothing for a row without a bar."""
        if self.bar is None:
            return ""
        kept = self.middle >= self.bar if self.at_least else self.middle <= self.bar
        return "ok" if kept else "over"

    def cells(self) -> tuple[str, str, str, str]:
        """Return the cells of the row: what, measured, bar, verdict."""
        measured = f"{_number(self.middle)} {self.unit}".rstrip()
        if len(self.values) > 1:
            spread = f"{_number(min(self.values))}..{_number(max(self.values))}"
            measured += f" (n={len(self.values)}, {spread})"
        bar = "" if self.bar is None else f"{'>=' if self.at_least else '<='} {_number(self.bar)} {self.unit}".rstrip()
        return self.what, measured, bar, self.verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A process that ended well: its wall time, its peak memory (of its own, or of its largest child), its output."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    stdout: str

    def json(self) -> Mapping[str, Any]:
        tree = json.loads(self.stdout)
        if not isinstance(tree, dict):
            raise TypeError(f"expected one JSON object, got {self.stdout[:80]!r}")
        return tree


def run_process(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Finished:
    """Run a command to its end, from the repository's root. Raises RuntimeError with its words when it fails."""
    with tempfile.TemporaryDirectory(prefix="lookout-bench-") as folder:
        report, out, err = (Path(folder) / name for name in ("report", "out", "err"))
        line = [sys.executable, "-S", _STOPWATCH, str(report), str(out), str(err), *map(str, command)]
        subprocess.run(line, check=True, cwd=ROOT, env=environment_of(environment))
        said = json.loads(report.read_text(encoding="utf-8"))
        stdout = out.read_text(encoding="utf-8")
        if said["code"] != 0:
            words = err.read_text(encoding="utf-8", errors="replace")[-2000:] + stdout[-500:]
            raise RuntimeError(f"exit code {said['code']} from {' '.join(map(str, command))}: {words}")
    return Finished(wall_s=said["wall_s"], cpu_s=said["cpu_s"], peak_bytes=said["peak_bytes"], stdout=stdout)


def environment_of(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would change how Lookout works, and with ``extra``."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("LOOKOUT_") and "SENDGRID" not in name
    }
    return {**kept, **(extra or {})}


def run_lookout(*arguments: str | Path) -> tuple[Finished, Mapping[str, Any]]:
    """``lookout ARGUMENTS --json`` as a whole process, and what it said."""
    finished = run_process([LOOKOUT, *arguments, "--json"])
    return finished, finished.json()


def check_counts(said: Mapping[str, Any], expected: Mapping[str, Mapping[str, Json]]) -> None:
    """Raise RuntimeError unless each stage's counts are as expected: a figure for other work would be worthless."""
    for stage, counts in expected.items():
        got = {name: said["stages"][stage][name] for name in counts}
        if got != counts:
            raise RuntimeError(f"{stage}: expected {dict(counts)}, got {got}")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed (nearest rank)."""
    if not values or not 0 < share <= 1:
        raise ValueError(f"expected values and a share in (0, 1], got {len(values)} values and {share}")
    ordered = sorted(values)
    rank = -(-len(ordered) * round(share * 10_000) // 10_000)
    return ordered[rank - 1]


def table(rows: Sequence[Row]) -> str:
    """Return all rows as a Markdown table with padded columns."""
    return cells_table([("what", "measured: median", "bar", ""), *(row.cells() for row in rows)])


def cells_table(cells: Sequence[Sequence[str]]) -> str:
    """These cells, the first line being the header, as a Markdown table with padded columns."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in cells]
    lines.insert(1, f"|{'|'.join('-' * (width + 2) for width in widths)}|")
    return "\n".join(lines)


def keep(path: Path, tree: Mapping[str, Any]) -> None:
    """Write down what was measured, when, and on what."""
    said = {"taken_at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "machine": machine(), **tree}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


def machine() -> str:
    """Cores, processor and how busy it is, in one line."""
    name = "unknown processor"
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), name)
    except OSError:
        pass  # not Linux: the name is a courtesy
    return f"{os.cpu_count()} cores, {name}; load average {load()}"


def load() -> str:
    """Return the load averages over 1, 5 and 15 minutes."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def _number(value: float) -> str:
    """Three significant digits, or all of a large number."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"
